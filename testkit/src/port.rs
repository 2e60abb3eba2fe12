//! Ports that nobody else takes, however many tests run at once.

use std::fs::{File, TryLockError};
use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// A port that belongs to its holder until dropped, between this process and every other that asks
/// here. It lies outside the range from which the kernel picks ports for `:0` and for outgoing
/// connections, so closing and binding again cannot lose it.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

/// Where ports are taken from: the first one, and how many there are.
static RANGE: LazyLock<(u16, u16)> = LazyLock::new(|| {
    let own = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    beside(&own)
});

/// What most kernels leave free, or on others the larger part of what lies below and above their own range.
fn beside(own: &str) -> (u16, u16) {
    const USUAL: (u16, u16) = (20_000, 12_000);
    let mut bounds = own.split_whitespace().map_while(|word| word.parse::<u16>().ok());
    let (Some(low), Some(high)) = (bounds.next(), bounds.next()) else {
        return USUAL;
    };
    if low >= USUAL.0 + USUAL.1 {
        return USUAL;
    }
    // Ports that services have names for are left alone.
    let below = (5_000, low.saturating_sub(5_000));
    let above = (high.saturating_add(1), u16::MAX - high.min(u16::MAX - 1));
    match if below.1 > above.1 { below } else { above } {
        (first, count) if count >= 1_000 => (first, count.min(u16::MAX - first)),
        // Nothing is left free. Locks keep tests apart, and chance has to do for the rest.
        _ => USUAL,
    }
}

/// What browsers and `fetch` refuse to speak HTTP to, above 5,000 (Fetch Standard, "port blocking").
const REFUSED: [u16; 11] = [
    5_060, 5_061, 6_000, 6_566, 6_665, 6_666, 6_667, 6_668, 6_669, 6_697, 10_080,
];

static NEXT: AtomicU16 = AtomicU16::new(0);

impl Port {
    /// Takes a free one.
    ///
    /// # Panics
    /// When all are taken, or the temporary folder cannot be written.
    #[must_use]
    pub fn reserve() -> Self {
        // Each user has a folder, because nobody else may write there.
        let user = rustix::process::geteuid().as_raw();
        let folder = std::env::temp_dir().join(format!("doorward-test-ports-{user}"));
        let (first, count) = *RANGE;
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        let start = u16::try_from(std::process::id() % u32::from(count)).unwrap_or(0);
        for _ in 0..count {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = first + (start.wrapping_mul(37).wrapping_add(step)) % count;
            if REFUSED.contains(&number) {
                continue;
            }
            let lock = File::create(folder.join(number.to_string())).expect("a lock file can be made");
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => panic!("a lock file can be locked: {error}"),
            }
            let free = TcpListener::bind(("127.0.0.1", number)).is_ok()
                && TcpListener::bind(("::1", number)).map_or_else(
                    // Without IPv6 here nothing of ours will listen on it either.
                    |error| error.kind() != std::io::ErrorKind::AddrInUse,
                    |_| true,
                );
            if free {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free port between {first} and {}", first + count);
    }

    /// The number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::{Port, beside};

    #[test]
    fn ports_lie_outside_the_range_of_the_kernel() {
        for (own, expected) in [
            ("32768\t60999\n", (20_000, 12_000)),
            ("", (20_000, 12_000)),
            ("rubbish", (20_000, 12_000)),
            ("15000\t65535", (5_000, 10_000)),
            ("1024\t60999", (61_000, 4_535)),
            ("1024\t65535", (20_000, 12_000)),
        ] {
            assert_eq!(beside(own), expected, "{own}");
        }
    }

    #[test]
    fn two_holders_never_have_the_same() {
        let ports: Vec<_> = (0..50).map(|_| Port::reserve()).collect();
        let mut numbers: Vec<_> = ports.iter().map(Port::number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), ports.len());
    }
}
