//! How a command is run.

use std::time::Duration;

/// Limits on the processes of one command. [`StdioSettings::default`] is what a configuration without any
/// of them means.
#[derive(Clone, Debug)]
pub struct StdioSettings {
    /// How long a command may take until it answers for the first time. Package runners download then.
    pub start_timeout: Duration,
    /// How long a call may take. It also bounds how long a call of a legacy session is kept when its client
    /// has gone away without cancelling it.
    pub answer_timeout: Duration,
    /// After so long without calls and without open streams a process is stopped.
    pub idle: Duration,
    /// Most processes of one user.
    pub per_user: usize,
    /// Most processes of all users together.
    pub total: usize,
    /// Most calls at a time in one process.
    pub calls: usize,
    /// Most bytes of long messages of one process that wait for its clients to read them.
    pub unread: u32,
}

impl Default for StdioSettings {
    fn default() -> Self {
        Self {
            start_timeout: Duration::from_secs(60),
            answer_timeout: Duration::from_secs(300),
            idle: Duration::from_secs(600),
            per_user: 8,
            total: 64,
            calls: 256,
            unread: 64 << 20,
        }
    }
}
