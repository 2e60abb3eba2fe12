//! The bounded pool on which passwords are hashed and checked.
//!
//! argon2id costs tens of megabytes and milliseconds on purpose. Without a bound, a flood of sign-ins
//! would take all memory and every blocking thread.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Too many passwords are being checked already; nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many sign-ins at once")]
pub struct Busy;

/// Runs password work on blocking threads: at most `workers` at once, at most `queue` waiting.
#[derive(Clone, Debug)]
pub struct PasswordPool {
    workers: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
    /// For browsers in which the owner signed in before: a flood of strangers does not take their places.
    reserved: Arc<Semaphore>,
}

impl PasswordPool {
    /// A pool of `workers` threads (at least one) before which `queue` requests may wait.
    #[must_use]
    pub fn new(workers: usize, queue: usize) -> Self {
        let workers = workers.max(1);
        Self {
            workers: Arc::new(Semaphore::new(workers)),
            admitted: Arc::new(Semaphore::new(workers.saturating_add(queue))),
            reserved: Arc::new(Semaphore::new(workers.saturating_add(queue))),
        }
    }

    /// Runs `work` as soon as a worker is free; [`Busy`] at once if the queue is full.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        self.run_admitted(&self.admitted, work).await
    }

    /// The same, for somebody whom strangers must not keep waiting outside.
    pub(crate) async fn run_reserved<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        self.run_admitted(&self.reserved, work).await
    }

    async fn run_admitted<T: Send + 'static>(
        &self,
        places: &Arc<Semaphore>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let admitted = Arc::clone(places).try_acquire_owned().map_err(|_| Busy)?;
        let worker = Arc::clone(&self.workers)
            .acquire_owned()
            .await
            .map_err(|_| Busy)?;
        // The permits go with the work: a caller that hangs up does not free a thread that still hashes.
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop((worker, admitted));
            result
        });
        task.await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_answers_at_once_and_recovers() {
        let pool = PasswordPool::new(1, 1);
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let running = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(move || wait.recv().is_ok()).await }
        });
        while pool.workers.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(|| 7).await }
        });
        while pool.admitted.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.run(|| 8).await, Err(Busy));
        let reserved = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run_reserved(|| 10).await }
        });
        release.send(()).unwrap();
        assert_eq!(running.await.unwrap(), Ok(true));
        assert_eq!(waiting.await.unwrap(), Ok(7));
        assert_eq!(reserved.await.unwrap(), Ok(10), "strangers do not take its place");
        assert_eq!(pool.run(|| 9).await, Ok(9));
    }
}
