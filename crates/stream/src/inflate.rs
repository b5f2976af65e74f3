//! What a compressed batch may become. The client does not bound gzip and LZ4, where 400 kB become 400 MB a few times over, and
//! refuses Zstandard from somewhere between a third of its bound and all of it. Snappy is bounded by its format.
//!
//! The client's own functions are replaced by these where the binary is linked so (crates/cybervault/build.rs); elsewhere, as in
//! this crate's tests, they are dead code.
#![allow(unsafe_code)] // called from C, with C's pointers

use std::{
    ffi::{c_char, c_int, c_void},
    io::Read,
    ptr, slice,
    sync::atomic::{AtomicUsize, Ordering},
};

use rdkafka::types::RDKafkaRespErr;

/// What a batch may become now.
static BOUND: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Sets what a batch may become, for all clients of the process.
pub(crate) fn bound(bytes: usize) {
    BOUND.store(bytes, Ordering::Relaxed);
}

/// Allows more until what is returned is dropped.
pub(crate) fn allow(bytes: usize) -> Allowed {
    Allowed { before: BOUND.swap(bytes.max(BOUND.load(Ordering::Relaxed)), Ordering::Relaxed) }
}

pub(crate) struct Allowed {
    before: usize,
}

impl Drop for Allowed {
    fn drop(&mut self) {
        bound(self.before);
    }
}

/// Memory as C's `malloc` gives it: the client frees it with `free`.
struct CBuffer {
    start: *mut u8,
    len: usize,
    room: usize,
}

impl CBuffer {
    /// All that `from` gives, and a zero behind it; `None` where that is more than `bound`, or can't be read.
    fn read(mut from: impl Read, expected: usize, bound: usize) -> Option<Self> {
        let mut buffer = Self { start: ptr::null_mut(), len: 0, room: 0 };
        buffer.grow(expected.min(bound).max(4096))?;
        loop {
            if buffer.len + 1 == buffer.room {
                if buffer.len > bound {
                    return None;
                }
                buffer.grow((buffer.room + buffer.room / 2).min(bound.saturating_add(2)))?;
            }
            // SAFETY: `grow` has given so many bytes and has written to each; the last is kept for the zero.
            let free = unsafe { slice::from_raw_parts_mut(buffer.start.add(buffer.len), buffer.room - buffer.len - 1) };
            match from.read(free).ok()? {
                0 => break,
                read => buffer.len += read,
            }
        }
        (buffer.len <= bound).then_some(buffer)
    }

    fn grow(&mut self, room: usize) -> Option<()> {
        let room = room.max(self.room + 1);
        // SAFETY: `start` is null or came from here; what is new is written to before it is read.
        unsafe {
            let start = libc::realloc(self.start.cast(), room).cast::<u8>();
            if start.is_null() {
                return None;
            }
            ptr::write_bytes(start.add(self.room), 0, room - self.room);
            (self.start, self.room) = (start, room);
        }
        Some(())
    }

    fn release(mut self) -> *mut c_void {
        std::mem::replace(&mut self.start, ptr::null_mut()).cast()
    }
}

impl Drop for CBuffer {
    fn drop(&mut self) {
        // SAFETY: it came from `realloc`, or is null.
        unsafe { libc::free(self.start.cast()) }
    }
}

/// In place of `rd_gz_decompress`: a gzip stream's content, or null.
///
/// # Safety
/// `compressed` points to `len` bytes, `inflated_len` to a number.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_rd_gz_decompress(
    compressed: *const c_void,
    len: c_int,
    inflated_len: *mut u64,
) -> *mut c_void {
    let len = usize::try_from(len).unwrap_or_default();
    // SAFETY: as the caller says.
    let compressed = unsafe { slice::from_raw_parts(compressed.cast::<u8>(), len) };
    let bound = BOUND.load(Ordering::Relaxed);
    match gzip(compressed, bound) {
        None => ptr::null_mut(),
        Some(buffer) => {
            // SAFETY: as the caller says.
            unsafe { *inflated_len = buffer.len as u64 };
            buffer.release()
        }
    }
}

/// In place of `rd_kafka_lz4_decompress`: an LZ4 frame's content. Messages of before Kafka 0.10, whose frames have a wrong checksum,
/// are not read.
///
/// # Safety
/// `compressed` points to `len` bytes, `inflated` and `inflated_len` to what they are for.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_rd_kafka_lz4_decompress(
    _broker: *mut c_void,
    _proper_hc: c_int,
    _offset: i64,
    compressed: *mut c_char,
    len: usize,
    inflated: *mut *mut c_void,
    inflated_len: *mut usize,
) -> RDKafkaRespErr {
    // SAFETY: as the caller says.
    unsafe {
        let compressed = slice::from_raw_parts(compressed.cast::<u8>(), len);
        hand_over(lz4(compressed, BOUND.load(Ordering::Relaxed)), inflated, inflated_len)
    }
}

/// In place of `rd_kafka_zstd_decompress`: the content of Zstandard frames.
///
/// # Safety
/// As of the one before.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __wrap_rd_kafka_zstd_decompress(
    _broker: *mut c_void,
    compressed: *mut c_char,
    len: usize,
    inflated: *mut *mut c_void,
    inflated_len: *mut usize,
) -> RDKafkaRespErr {
    // SAFETY: as the caller says.
    unsafe {
        let compressed = slice::from_raw_parts(compressed.cast::<u8>(), len);
        hand_over(zstandard(compressed, BOUND.load(Ordering::Relaxed)), inflated, inflated_len)
    }
}

/// # Safety
/// `inflated` and `inflated_len` may be written to.
unsafe fn hand_over(found: Option<CBuffer>, inflated: *mut *mut c_void, inflated_len: *mut usize) -> RDKafkaRespErr {
    let Some(buffer) = found else { return RDKafkaRespErr::RD_KAFKA_RESP_ERR__BAD_COMPRESSION };
    // SAFETY: as the caller says.
    unsafe {
        *inflated_len = buffer.len;
        *inflated = buffer.release();
    }
    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
}

fn gzip(compressed: &[u8], bound: usize) -> Option<CBuffer> {
    CBuffer::read(flate2::read::MultiGzDecoder::new(compressed), expected(compressed), bound)
}

fn lz4(compressed: &[u8], bound: usize) -> Option<CBuffer> {
    CBuffer::read(lz4_flex::frame::FrameDecoder::new(compressed), expected(compressed), bound)
}

fn zstandard(compressed: &[u8], bound: usize) -> Option<CBuffer> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed).ok()?;
    // A frame asks for a window as large as it likes: more than the content may have is of no use, and 8 MiB are usual.
    decoder.window_log_max((bound.max(1).ilog2() + 1).clamp(23, 27)).ok()?;
    CBuffer::read(decoder, expected(compressed), bound)
}

/// What most logs become.
fn expected(compressed: &[u8]) -> usize {
    compressed.len().saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|at| u8::try_from(at * at / 7 % 251).unwrap()).collect()
    }

    #[test]
    fn what_fits_comes_out_whole_and_what_does_not_is_refused() {
        for size in [0, 1, 4095, 4096, 4097, 100_000] {
            let content = content(size);
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&content).unwrap();
            let gzip = gzip.finish().unwrap();
            let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
            lz4.write_all(&content).unwrap();
            let lz4 = lz4.finish().unwrap();
            let zstandard_frame = zstd::encode_all(&*content, 1).unwrap();
            for (bound, fits) in [(size, true), (size + 1, true), (size.wrapping_sub(1), size == 0)] {
                for buffer in [super::gzip(&gzip, bound), super::lz4(&lz4, bound), zstandard(&zstandard_frame, bound)] {
                    assert_eq!(buffer.is_some(), fits, "{size} within {bound}");
                    let Some(buffer) = buffer else { continue };
                    // SAFETY: so many bytes were read into it.
                    assert_eq!(unsafe { slice::from_raw_parts(buffer.start, buffer.len) }, content);
                }
            }
        }
    }

    #[test]
    fn what_is_damaged_is_refused() {
        for read in [gzip, lz4, zstandard] {
            assert!(read(b"neither of them", 100).is_none());
        }
    }
}
