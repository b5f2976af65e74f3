//! What the C library's allocator keeps of memory that is no longer used.
#![allow(unsafe_code)] // calls of the C library

/// Lets go of the memory of batches that are done, so that a process that has worked for hours is no larger than a new one.
///
/// A batch's buffers are made on some threads and freed on others. Left to itself glibc takes larger and larger ones from heaps of
/// its own, one for each thread, which a single piece that stays keeps from shrinking. To be called before there are other threads;
/// does nothing where the C library is another.
pub fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const LARGE: libc::c_int = 128 * 1024;
        for (setting, value) in
            [(libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, LARGE), (libc::M_ARENA_MAX, 2)]
        {
            // SAFETY: it takes two numbers, and refuses those that it doesn't know.
            unsafe { libc::mallopt(setting, value) };
        }
    }
}
