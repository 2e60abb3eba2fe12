//! Where chance comes from.

/// A source of unpredictable bytes. Production uses [`SystemRandom`]; tests use [`CountingRandom`].
pub trait Random: Send + Sync + 'static {
    /// Fills `out` with unpredictable bytes.
    fn fill(&self, out: &mut [u8]);
}

/// Draws `N` bytes.
#[must_use]
pub fn bytes<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut out = [0; N];
    random.fill(&mut out);
    out
}

/// The operating system's generator, through aws-lc.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, out: &mut [u8]) {
        #[expect(
            clippy::expect_used,
            reason = "a machine without entropy cannot issue anything: stopping is the only safe answer"
        )]
        aws_lc_rs::rand::fill(out).expect("the operating system gives random bytes");
    }
}

/// A repeatable, obviously unsafe sequence, for tests and for exploring state machines.
#[derive(Debug, Default)]
pub struct CountingRandom(std::sync::atomic::AtomicU64);

impl Random for CountingRandom {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let n = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let digest = crate::digest::Digest::of(&n.to_be_bytes());
            for (to, from) in chunk.iter_mut().zip(digest.as_bytes()) {
                *to = *from;
            }
        }
    }
}
