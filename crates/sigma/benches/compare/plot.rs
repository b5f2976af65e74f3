//! A curve as a picture.

use std::path::Path;

use plotters::{
    coord::ranged1d::{AsRangedCoord, ValueFormatter},
    prelude::*,
};

use crate::Outcome;

#[derive(Debug)]
pub(crate) struct Plot {
    pub(crate) across: Axis,
    pub(crate) lines: [Line; 3],
}

#[derive(Debug)]
pub(crate) struct Axis {
    pub(crate) name: &'static str,
    pub(crate) scale: Scale,
}

#[derive(Debug)]
pub(crate) enum Scale {
    FromZero,
    /// With what is to be named on it.
    Logarithmic(&'static [f64]),
}

#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (720, 360);
/// Pages have a light or a dark ground, and the picture has none of its own: these can be read on both.
const INK: RGBColor = RGBColor(0x80, 0x80, 0x80);
const COLOURS: [RGBColor; 3] = [RGBColor(0xd9, 0x5f, 0x0e), RGBColor(0x2f, 0x81, 0xf7), INK];

impl Plot {
    pub(crate) fn draw(&self, path: &Path) -> Outcome<()> {
        let across = || self.lines.iter().flat_map(|line| &line.points).map(|(x, _)| *x);
        let (left, right) = (across().fold(f64::MAX, f64::min) * 0.9, across().fold(0.0, f64::max) * 1.1);
        match self.across.scale {
            Scale::FromZero => self.draw_on(path, 0.0..right),
            Scale::Logarithmic(names) => {
                let names = names.iter().copied().filter(|name| (left..right).contains(name)).collect();
                self.draw_on(path, (left..right).log_scale().with_key_points(names))
            }
        }
    }

    fn draw_on<X>(&self, path: &Path, across: X) -> Outcome<()>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
    {
        let top = self.lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).fold(0.0, f64::max) * 1.1;
        let root = SVGBackend::new(path, SIZE).into_drawing_area();
        let text = |size: u32| ("sans-serif", size).into_font().color(&INK);
        let mut chart = ChartBuilder::on(&root)
            .margin(12)
            .x_label_area_size(48)
            .y_label_area_size(60)
            .build_cartesian_2d(across, 0.0..top)?;
        chart
            .configure_mesh()
            .axis_style(INK)
            .bold_line_style(INK.mix(0.3))
            .light_line_style(TRANSPARENT)
            .x_desc(self.across.name)
            .y_desc("µs an event, one thread")
            .x_label_formatter(&|x| label(*x))
            .y_label_formatter(&|y| label(*y))
            .label_style(text(16))
            .axis_desc_style(text(17))
            .draw()?;
        for (Line { name, points }, colour) in self.lines.iter().zip(COLOURS) {
            chart
                .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)).point_size(3))?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        chart.configure_series_labels().position(SeriesLabelPosition::UpperLeft).label_font(text(16)).draw()?;
        root.present()?;
        Ok(())
    }
}

/// A number with its thousands set apart.
fn label(number: f64) -> String {
    if number >= 1_000.0 {
        let thousands = (number / 1_000.0).floor();
        return format!("{thousands},{:03.0}", number - thousands * 1_000.0);
    }
    format!("{number}")
}
