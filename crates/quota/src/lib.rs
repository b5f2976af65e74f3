//! Admission: plans and buckets, decided on the record's own time.
#![forbid(unsafe_code)]
