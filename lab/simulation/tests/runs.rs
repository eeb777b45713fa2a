//! Whole runs from fixed seeds: nothing that was promised is broken, whatever goes wrong.

use flux_simulation::scenario::run::Run;
use flux_simulation::scenario::verdict::judge;

#[test]
fn seeds() {
    let first: u64 = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let count: u64 = std::env::var("RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let mut bad = 0;
    for seed in first..first + count {
        let began = std::time::Instant::now();
        let mut run = Run::new(seed);
        run.go();
        let report = judge(&mut run);
        if !report.holds() || count == 1 {
            bad += 1;
            println!("seed {seed}: {:?}\n{report}\nfaults {:#?}", began.elapsed(), run.shape.faults);
        } else {
            println!(
                "seed {seed}: {:?} {} requests, {} rebuilds, until {:?}",
                began.elapsed(),
                report.requests,
                report.rebuilds,
                run.world.now().instant
            );
        }
    }
    assert_eq!(bad, 0);
}
