//! What Landlock does not judge: calls that reach other processes of the same user, and keys that a user's processes
//! share.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::SeccompCmpArgLen::{Dword, Qword};
use seccompiler::SeccompCmpOp::{Eq, Ne};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
};
use seccompiler::{SeccompRule, TargetArch};

use super::LaunchError;

const WHAT: &str = "limit the child's system calls";
/// Of setpriority(2) and ioprio_set(2): all processes of a user.
const PRIO_USER: u64 = 2;
const IOPRIO_USER: u64 = 3;
/// `RLIMIT_RTTIME`: the mark.
const MARK: u64 = 15;
/// The same calls by their numbers of the x32 ABI.
const X32: i64 = 0x4000_0000;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// From here on `EPERM` for: limits, priorities and processors of other processes (a limit on our CPU time would kill
/// us), the limit that marks the child's processes, and the kernel's keyrings. Needs `no_new_privs`.
///
/// # Errors
/// [`LaunchError::Prepare`].
pub(super) fn restrict() -> Result<(), LaunchError> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(());
    };
    let mut rules = rules().map_err(LaunchError::prepare(WHAT))?;
    if matches!(arch, TargetArch::x86_64) {
        let again: Rules = rules
            .iter()
            .map(|(call, rules)| (call | X32, rules.clone()))
            .collect();
        rules.extend(again);
    }
    let errno = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, errno, arch);
    let program: Result<BpfProgram, _> = filter.and_then(TryInto::try_into);
    seccompiler::apply_filter(&program.map_err(LaunchError::prepare(WHAT))?)
        .map_err(LaunchError::prepare(WHAT))
}

fn rules() -> Result<Rules, seccompiler::BackendError> {
    let mut rules = Rules::from([
        // pid, resource, new limit.
        (
            libc::SYS_prlimit64,
            vec![
                rule(&[(0, Dword, Ne, 0)])?,
                rule(&[(1, Dword, Eq, MARK), (2, Qword, Ne, 0)])?,
            ],
        ),
        (libc::SYS_setrlimit, vec![rule(&[(0, Dword, Eq, MARK)])?]),
        // What kind of id, and which: 0 is the caller's own.
        (
            libc::SYS_setpriority,
            vec![rule(&[(1, Dword, Ne, 0)])?, rule(&[(0, Dword, Eq, PRIO_USER)])?],
        ),
        (
            libc::SYS_ioprio_set,
            vec![rule(&[(1, Dword, Ne, 0)])?, rule(&[(0, Dword, Eq, IOPRIO_USER)])?],
        ),
        // Without rules: always.
        (libc::SYS_add_key, Vec::new()),
        (libc::SYS_request_key, Vec::new()),
        (libc::SYS_keyctl, Vec::new()),
    ]);
    for call in [
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setscheduler,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setattr,
    ] {
        rules.insert(call, vec![rule(&[(0, Dword, Ne, 0)])?]);
    }
    Ok(rules)
}

fn rule(
    conditions: &[(u8, SeccompCmpArgLen, SeccompCmpOp, u64)],
) -> Result<SeccompRule, seccompiler::BackendError> {
    let conditions = conditions
        .iter()
        .map(|(argument, length, operator, value)| {
            SeccompCondition::new(*argument, length.clone(), operator.clone(), *value)
        })
        .collect::<Result<_, _>>()?;
    SeccompRule::new(conditions)
}
