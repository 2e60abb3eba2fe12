//! What the limits cost one call: `cargo bench -p doorward-limits`. The budget is half a microsecond for three checks.

use std::hint::black_box;
use std::time::Duration;

use doorward_limits::{Ledger, Limit, Network, NetworkLimit, Rate};
use doorward_types::time::{Clock as _, SystemClock};

const ROUNDS: u32 = 1_000_000;

fn main() {
    let Ok(rate) = "10000000/s".parse::<Rate>() else {
        return;
    };
    let ledger = Ledger::new(1 << 17);
    let calls = Limit::new(&ledger, ("files", "calls"), rate);
    let tool = Limit::new(&ledger, ("files", "tool"), rate);
    let address = NetworkLimit::new(&ledger, "address", rate);
    for (users, threads) in [(1, 1), (1_000, 1), (100_000, 1), (1, 2), (1_000, 2)] {
        let begun = SystemClock.monotonic();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for round in 0..ROUNDS {
                        let user = (u128::from(round % users), "dcr_0123456789abcdef0123456789abcdef");
                        let network = Network::of(std::net::Ipv4Addr::from_bits(round % users).into());
                        let now: Duration = SystemClock.monotonic();
                        let _admitted = black_box(address.take(&ledger, network, now));
                        let _admitted = black_box(calls.take(&ledger, user, now));
                        let _admitted = black_box(tool.take(&ledger, (user.0, "delete_note"), now));
                    }
                });
            }
        });
        let spent = SystemClock.monotonic().saturating_sub(begun) / ROUNDS;
        #[expect(clippy::print_stdout, reason = "a benchmark prints")]
        {
            println!("{users} users, {threads} threads: three checks in {spent:?}");
        }
    }
}
