//! What each byte of a store costs in CPU: the digest, the blob tree, the seal, and all three.

use std::hint::black_box;
use std::time::Duration;

use bytecave_bench::content::{BlobSeed, Pieces};
use bytecave_bench::size::SizeSpec;
use bytecave_core::{Digest, tree};
use bytecave_store::engine::seal::{BlobCipher, BlobId, DataKey};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const SIZES: [usize; 4] = [4 << 10, 64 << 10, 1 << 20, 4 << 20];

fn hash_and_seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash_seal");
    group
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    for size in SIZES {
        let content = Pieces::whole(BlobSeed::new(0, size as u64), size);
        let label = SizeSpec::OneOf(vec![size as u64]).to_string();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("sha256", &label), |bencher| {
            bencher.iter(|| Digest::of(black_box(&content)));
        });
        group.bench_function(BenchmarkId::new("blob_tree", &label), |bencher| {
            bencher.iter(|| tree::blob_root(black_box(&content)));
        });
        group.bench_function(BenchmarkId::new("seal", &label), |bencher| {
            bencher.iter(|| seal(black_box(&content)));
        });
        group.bench_function(BenchmarkId::new("open", &label), |bencher| {
            let (cipher, sealed) = sealed(&content);
            bencher.iter_batched_ref(
                || sealed.clone(),
                |sealed| cipher.open_whole(size as u64, sealed),
                criterion::BatchSize::LargeInput,
            );
        });
        group.bench_function(BenchmarkId::new("all_of_a_store", &label), |bencher| {
            bencher.iter(|| {
                let content = black_box(&content);
                (Digest::of(content), tree::blob_root(content), seal(content))
            });
        });
    }
    group.finish();
}

/// As the engine does: a fresh key for each blob.
fn seal(content: &[u8]) -> Vec<u8> {
    sealed(content).1
}

fn sealed(content: &[u8]) -> (BlobCipher, Vec<u8>) {
    let sealed = DataKey::random().and_then(|key| {
        let cipher = BlobCipher::new(&key, BlobId::random()?)?;
        let sealed = cipher.seal_whole(content)?;
        Ok((cipher, sealed))
    });
    match sealed {
        Ok(sealed) => sealed,
        Err(error) => panic!("sealing failed: {error}"),
    }
}

criterion_group!(benches, hash_and_seal);
criterion_main!(benches);
