//! Numbers as correlations compute with them: exact, so that neither order nor what has left a window changes a sum.

/// A number in billionths: nine decimal places are kept, and what is beyond 10^20 is taken as that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nano(i128);

const UNIT: f64 = 1e9;
const LARGEST: f64 = 1e20;

impl Nano {
    pub(crate) fn new(number: f64) -> Self {
        let number = number.clamp(-LARGEST, LARGEST);
        let whole = number.trunc();
        // Both are in range after the clamp. The parts are taken by themselves, as their product with a billion would be rounded.
        #[expect(clippy::cast_possible_truncation)]
        let (whole, part) = (whole as i128, ((number - whole) * UNIT).round() as i128);
        Self(whole * 1_000_000_000 + part)
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }

    pub(crate) fn take(&mut self, other: Self) {
        self.0 = self.0.saturating_sub(other.0);
    }

    #[expect(clippy::cast_precision_loss, reason = "to be shown")]
    pub(crate) fn number(self) -> f64 {
        self.0 as f64 / UNIT
    }

    pub(crate) fn times(self, count: usize) -> Self {
        Self(self.0.saturating_mul(i128::try_from(count).unwrap_or(i128::MAX)))
    }
}

/// The number that a text spells: a sign, digits, one point with digits. Nothing else, so that no account that is called `inf`, and no
/// `1e9`, adds up.
pub(crate) fn decimal(text: &str) -> Option<f64> {
    const LONGEST: usize = 64;
    if text.len() > LONGEST {
        return None;
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (whole, part) = digits.split_once('.').map_or((digits, None), |(whole, part)| (whole, Some(part)));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = are_digits(whole)
        && match part {
            None => !whole.is_empty(),
            Some(part) => are_digits(part) && !(whole.is_empty() && part.is_empty()),
        };
    if is_number { text.parse().ok().filter(|number: &f64| number.is_finite()) } else { None }
}

/// The value at a percentile of sorted numbers, interpolated between the two nearest; of none there is none.
pub(crate) fn percentile(sorted: &[f64], rank: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(clippy::cast_precision_loss, reason = "a window has fewer than 2^53 numbers")]
    let place = rank / 100.0 * last as f64;
    // Within 0 and `last`, as the rank is within 0 and 100.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let low = (place.floor() as usize).min(last);
    let high = (low + 1).min(last);
    Some(sorted[low] + (sorted[high] - sorted[low]) * (place - place.floor()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_decimals_are_numbers() {
        for text in ["0", "-12", "+7", "99.5", ".5", "5.", "-0.25"] {
            assert_eq!(decimal(text), text.parse().ok(), "{text}");
        }
        for text in
            ["", "-", ".", "1e3", "inf", "NaN", "0x10", "1_000", "1,5", " 1", "12 kB", "--1", "1.2.3", &"9".repeat(65)]
        {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    #[test]
    fn sums_are_exact_to_nine_places_and_end_where_numbers_are_too_large() {
        let mut sum = Nano::default();
        for number in [0.1, 0.2, 9_007_199_254_740_992.0, -9_007_199_254_740_992.0] {
            sum.add(Nano::new(number));
        }
        assert_eq!(sum, Nano::new(0.3));
        assert_eq!(Nano::new(f64::MAX), Nano::new(1e20));
        assert_eq!(Nano::new(2.5).times(4), Nano::new(10.0));
    }

    #[test]
    fn percentiles_lie_between_the_nearest_values() {
        assert_eq!(percentile(&[], 50.0), None);
        assert_eq!(percentile(&[7.0], 95.0), Some(7.0));
        assert_eq!(percentile(&[1.0, 2.0, 4.0], 50.0), Some(2.0));
        assert_eq!(percentile(&[1.0, 2.0], 25.0), Some(1.25));
        assert_eq!(percentile(&[1.0, 2.0], 100.0), Some(2.0));
    }
}
