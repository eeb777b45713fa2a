//! A ticket of the fair queue: signing, verifying, and a lot; beside the two compressions of SHA-256 that a verification
//! cannot do without.

use std::hint::black_box;

use criterion::Criterion;
use flux_benches::{PRODUCT, SALE_ID, group, run};
use flux_protocol::queue::{Place, Seed, Ticket, TicketKey};
use sha2::{Digest, Sha256};

fn ticket(criterion: &mut Criterion) {
    let seed = Seed::new([0x5e; 32]);
    let key = TicketKey::new(&seed, PRODUCT.as_bytes(), SALE_ID);
    let user = b"user-000042";
    let ticket = Ticket { place: Place { slot: 3, rank: seed.rank(user) }, has_come: false };
    let text = key.sign(ticket, user);
    let mut forged = text;
    forged[31] = if forged[31] == b'A' { b'B' } else { b'A' };
    assert_eq!((key.verify(&text, user), key.verify(&forged, user)), (Some(ticket), None));

    let mut group = group(criterion, "ticket");
    group.bench_function("verify", |bencher| bencher.iter(|| key.verify(black_box(&text), black_box(user))));
    group.bench_function("verify a forged one", |bencher| {
        bencher.iter(|| key.verify(black_box(&forged), black_box(user)))
    });
    group.bench_function("sign", |bencher| bencher.iter(|| key.sign(black_box(ticket), black_box(user))));
    group.bench_function("lot of a user", |bencher| bencher.iter(|| seed.rank(black_box(user))));
    group.bench_function("sha2, two blocks", |bencher| {
        bencher.iter(|| (Sha256::digest(black_box([0u8; 32])), Sha256::digest(black_box([1u8; 32]))));
    });
}

fn main() {
    run(&[ticket]);
}
