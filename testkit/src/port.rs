//! Ports that nobody else takes, however many tests run at once.

use std::fs::{File, TryLockError};
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// A port that belongs to its holder until dropped, between this process and every other that asks
/// here. It lies below the range from which the kernel picks ports for `:0` and for outgoing
/// connections, so closing and binding again cannot lose it.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

impl Port {
    /// Takes a free one.
    ///
    /// # Panics
    /// When all are taken, or the temporary folder cannot be written.
    #[must_use]
    pub fn reserve() -> Self {
        let folder = std::env::temp_dir().join("doorward-test-ports");
        std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
        let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = FIRST + (start.wrapping_mul(37).wrapping_add(step)) % COUNT;
            let lock = File::create(folder.join(number.to_string())).expect("a lock file can be made");
            match lock.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => panic!("a lock file can be locked: {error}"),
            }
            let free = TcpListener::bind(("127.0.0.1", number)).is_ok()
                && TcpListener::bind(("::1", number)).map_or_else(
                    // No IPv6 here: nothing of ours will listen on it either.
                    |error| error.kind() == std::io::ErrorKind::AddrNotAvailable,
                    |_| true,
                );
            if free {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free port between {FIRST} and {}", FIRST + COUNT);
    }

    /// The number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }
}
