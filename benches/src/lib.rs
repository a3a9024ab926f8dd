//! Benches and the load tester.
