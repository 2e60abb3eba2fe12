//! Rights that a child gives up, and limits it gets, before it becomes the program.

use rustix::process::{Pid, Resource, Rlimit};

use super::LaunchError;

/// Descriptors the program may open, and to how many it may raise that itself.
const DESCRIPTORS: (u64, u64) = (1024, 65536);

/// The child dies with the thread that started it.
pub(super) fn end_with_parent(parent: u32) -> Result<(), LaunchError> {
    #[cfg(target_os = "linux")]
    {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(LaunchError::prepare("tie the child's life to ours"))?;
        // It may have ended before that.
        let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
        if now.and_then(|pid| u32::try_from(pid).ok()) != Some(parent) {
            return Err(LaunchError::Orphan);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
    Ok(())
}

/// A session and process group of its own: killed as one, and without our terminal. Files are private by default.
pub(super) fn own_session() -> Result<(), LaunchError> {
    let _: Pid = rustix::process::setsid().map_err(LaunchError::prepare("start a session"))?;
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    Ok(())
}

/// What we block or ignore (`nohup` ignores SIGHUP) the program must not: it could not be ended.
pub(super) fn default_signals() -> Result<(), LaunchError> {
    use signal_hook::consts::{SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
    use signal_hook::consts::{SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2};
    const WHAT: &str = "reset the child's signals";
    for signal in [
        SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1,
        SIGUSR2,
    ] {
        // `exec` keeps "ignored", and turns any handler into the default.
        signal_hook::flag::register(signal, std::sync::Arc::default()).map_err(LaunchError::prepare(WHAT))?;
    }
    nix::sys::signal::SigSet::empty()
        .thread_set_mask()
        .map_err(LaunchError::prepare(WHAT))
}

/// Nothing that the program starts can gain rights; what root would give it is gone.
pub(super) fn drop_capabilities() -> Result<(), LaunchError> {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CapabilitySet, CapabilitySets};
        const WHAT: &str = "give up capabilities";
        rustix::thread::set_no_new_privs(true).map_err(LaunchError::prepare(WHAT))?;
        for bit in 0..u64::BITS {
            let capability = CapabilitySet::from_bits_retain(1 << bit);
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                Ok(()) => {}
                // Only who has the right to lose rights can; without it there is nothing to lose by `exec`.
                Err(rustix::io::Errno::PERM) => break,
                // One more than the kernel knows.
                Err(rustix::io::Errno::INVAL) => break,
                Err(errno) => return Err(LaunchError::prepare(WHAT)(errno)),
            }
        }
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        // Also empties the ambient set, which is never larger than these.
        rustix::thread::set_capabilities(None, none).map_err(LaunchError::prepare(WHAT))?;
    }
    Ok(())
}

/// If the machine's memory ends, the child ends before we do: not all that it takes counts as its own (files in
/// memory).
pub(super) fn go_first() {
    #[cfg(target_os = "linux")]
    let _: std::io::Result<()> = std::fs::write("/proc/self/oom_score_adj", "500");
}

/// Limits of the one process; those of all together are the supervisor's business.
pub(super) fn limit(memory: u64) -> Result<(), LaunchError> {
    set(Resource::Core, 0, 0, "switch off core dumps")?;
    set(Resource::Nofile, DESCRIPTORS.0, DESCRIPTORS.1, "limit open files")?;
    // The cap is on resident memory and looked at once a second. This is on address space, of which programs
    // take more than they use, and stops what outruns the look.
    let data = memory.saturating_mul(2);
    set(Resource::Data, data, data, "limit memory")?;
    #[cfg(target_os = "linux")]
    {
        let mark = crate::mark::of(std::process::id());
        // A child of a child of ours keeps the mark it has.
        let _: Result<(), LaunchError> = set(Resource::Rttime, mark, mark, "mark the child's processes");
    }
    Ok(())
}

fn set(resource: Resource, current: u64, maximum: u64, what: &'static str) -> Result<(), LaunchError> {
    let allowed = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit {
        current: Some(current.min(allowed)),
        maximum: Some(maximum.min(allowed)),
    };
    rustix::process::setrlimit(resource, limit).map_err(LaunchError::prepare(what))
}
