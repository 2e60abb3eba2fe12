//! How much memory messages may take that are being read or wait for the host (CL-15).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory of all messages together. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    taken: Arc<AtomicUsize>,
    most: usize,
}

/// What one message takes of it, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Share {
    of: Option<Memory>,
    size: usize,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Memory {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            taken: Arc::default(),
            most,
        }
    }

    /// An empty share.
    pub(crate) fn share(&self) -> Share {
        Share {
            of: Some(self.clone()),
            size: 0,
        }
    }
}

impl Share {
    /// Takes more. Never waits: whoever waited for room while it holds some could wait for ever.
    pub(crate) fn grow(&mut self, by: usize) -> Result<(), Full> {
        let Some(memory) = &self.of else {
            return Ok(());
        };
        let taken = memory.taken.fetch_add(by, Ordering::Relaxed);
        if taken.saturating_add(by) > memory.most {
            memory.taken.fetch_sub(by, Ordering::Relaxed);
            return Err(Full);
        }
        self.size += by;
        Ok(())
    }

    /// All that it holds, as a share of its own; this one is empty then.
    pub(crate) fn take(&mut self) -> Self {
        Self {
            of: self.of.clone(),
            size: std::mem::take(&mut self.size),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Some(memory) = &self.of {
            memory.taken.fetch_sub(self.size, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cl_15_memory_is_given_back_and_never_exceeded() {
        let memory = Memory::new(100);
        let mut one = memory.share();
        let mut two = memory.share();
        assert_eq!(one.grow(60), Ok(()));
        assert_eq!(two.grow(41), Err(Full));
        assert_eq!(two.grow(40), Ok(()));
        let moved = one.take();
        drop(one);
        assert_eq!(two.grow(1), Err(Full));
        drop(moved);
        assert_eq!(two.grow(60), Ok(()));
    }
}
