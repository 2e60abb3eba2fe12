//! Listeners that nobody must ever call.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A loopback listener that counts connections.
#[derive(Debug)]
pub struct Canary {
    port: u16,
    visits: Arc<AtomicUsize>,
}

impl Canary {
    /// Starts one on a free port. It listens until the test process ends.
    ///
    /// # Panics
    /// When no port can be bound.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket").port();
        let visits = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&visits);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                drop(socket);
            }
        });
        Self { port, visits }
    }

    /// A URL that leads here.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// How many connections came.
    #[must_use]
    pub fn visits(&self) -> usize {
        self.visits.load(Ordering::SeqCst)
    }
}
