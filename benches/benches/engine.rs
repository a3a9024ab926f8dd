//! One put and one get at a time: what a blob costs by size class and durability, without a queue.
//!
//! For figures beside the machine's limits and with many clients: `bytecave-bench-engine`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytecave_bench::engine::{Shelf, Subject};
use bytecave_bench::measure::Enough;
use bytecave_bench::size::SizeSpec;
use bytecave_messages::store::Durability;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// One of each way of storing: an inlined value, blob files, the largest single value, and streamed.
const SIZES: [u64; 5] = [1 << 10, 4 << 10, 64 << 10, 1 << 20, 64 << 20];
/// Blobs that are read from, at most so many bytes of them.
const READ_BYTES: u64 = 64 << 20;

fn engine(criterion: &mut Criterion) {
    for durability in [Durability::Strict, Durability::Batched, Durability::Relaxed] {
        let directory = fresh_directory();
        let subject = ok(Subject::open(&directory, durability));
        let mut group = criterion.benchmark_group(format!("put_{}", name(durability)));
        // Few: every put stays on the disk.
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_secs(1));
        for size in SIZES {
            // Large blobs are always synced, so one durability says all.
            if size > 4 << 20 && durability != Durability::Strict {
                continue;
            }
            group.throughput(Throughput::Bytes(size));
            group.bench_function(BenchmarkId::from_parameter(label(size)), |bencher| {
                bencher.iter_custom(|count| {
                    let put = ok(subject.put_fresh(size, 1, Enough::Operations(count)));
                    Duration::from_secs_f64(put.seconds)
                });
            });
        }
        group.finish();
        if durability == Durability::Strict {
            gets(criterion, &subject);
        }
    }
}

fn gets(criterion: &mut Criterion, subject: &Subject) {
    let mut group = criterion.benchmark_group("get_warm");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    for size in SIZES {
        let count = (READ_BYTES / size).clamp(2, 1000);
        let shelf: Shelf = ok(subject.put_shelf(size, 16, count));
        group.throughput(Throughput::Bytes(size));
        group.bench_function(BenchmarkId::from_parameter(label(size)), |bencher| {
            bencher.iter_custom(|count| {
                let got = ok(subject.get_at_random(&shelf, 1, Enough::Operations(count)));
                Duration::from_secs_f64(got.seconds)
            });
        });
    }
    group.finish();
}

/// Under cargo's directory for such files, so on the disk that builds are on; `cargo clean` removes it.
fn fresh_directory() -> PathBuf {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine-bench");
    ok(std::fs::create_dir_all(&base));
    let taken = ok(std::fs::read_dir(&base)).count();
    base.join(format!("{}-{taken}", std::process::id()))
}

fn name(durability: Durability) -> &'static str {
    match durability {
        Durability::Strict => "strict",
        Durability::Batched => "batched",
        Durability::Relaxed => "relaxed",
    }
}

fn label(size: u64) -> String {
    SizeSpec::OneOf(vec![size]).to_string()
}

fn ok<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error}"),
    }
}

criterion_group!(benches, engine);
criterion_main!(benches);
