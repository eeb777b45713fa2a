//! What the tests on real sockets share.

use std::time::Duration;

use flux_net::{DriverChoice, Runtime, RuntimeOptions, within};

/// Runs the test on epoll, and on a ring where one is to be had; ends it where it takes longer than `limit`, as one that hangs.
pub(crate) fn on_each_driver_within<F: Future<Output = ()>>(limit: Duration, test: impl Fn() -> F) {
    for choice in [DriverChoice::Epoll, DriverChoice::Uring] {
        let mut runtime = match Runtime::build(RuntimeOptions { driver: choice, monoio_timers: false }) {
            Ok(runtime) => runtime,
            Err(error) if choice == DriverChoice::Uring => {
                flux_test_support::skip(&format!("the tests on a ring: {error}"));
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        runtime.block_on(async {
            let finished = within(limit, test()).await.expect("a timer");
            assert!(finished.is_some(), "it hangs on {choice}");
        });
    }
}
