//! The line between supervisor and launcher.

use std::io::{IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

use super::{LaunchError, READY};

/// Accompanies the descriptor: one cannot travel alone.
const GREETING: &[u8] = b"I";

/// Sends the descriptor that is to be the program's standard input.
///
/// # Errors
/// What the system says.
pub(crate) fn give_input(line: &UnixStream, input: BorrowedFd<'_>) -> std::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let inputs = [input];
    ancillary.push(SendAncillaryMessage::ScmRights(&inputs));
    rustix::net::sendmsg(
        line,
        &[IoSlice::new(GREETING)],
        &mut ancillary,
        SendFlags::empty(),
    )?;
    Ok(())
}

/// What the launcher said, all of it: None if it ended before it was ready, nothing if it became the program, else why
/// it did not.
pub(crate) fn failure(said: &[u8]) -> Option<String> {
    let words = said.strip_prefix(&[READY]).map_or(said, |rest| rest);
    (!said.is_empty()).then(|| String::from_utf8_lossy(words).into_owned())
}

/// The launcher's end.
pub(super) struct Line(UnixStream);

impl Line {
    /// Moves the line away from standard input, puts there what came over it, and sees to it that the program
    /// inherits no descriptor but the three.
    ///
    /// # Errors
    /// [`LaunchError::NotForPeople`] if there is no line.
    pub(super) fn take() -> Result<Self, LaunchError> {
        let line = std::io::stdin().as_fd().try_clone_to_owned();
        let line = line.map_err(|_| LaunchError::NotForPeople)?;
        let input = received(&line).ok_or(LaunchError::NotForPeople)?;
        rustix::stdio::dup2_stdin(&input).map_err(|_| LaunchError::NotForPeople)?;
        // Ours are all opened so; a library's, or those we were started with ourselves, may not be.
        close_fds::set_fds_cloexec(3, &[]);
        Ok(Self(line.into()))
    }

    /// `exec` comes next.
    pub(super) fn ready(&self) {
        self.say(&[READY]);
    }

    pub(super) fn report(&self, error: &LaunchError) {
        self.say(error.to_string().as_bytes());
    }

    fn say(&self, words: &[u8]) {
        // Without a listener there is nobody to start anything for: the parent's end ends us.
        let _: std::io::Result<()> = (&self.0).write_all(words);
    }
}

fn received(line: &OwnedFd) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut greeting = [0; 1];
    let mut room = [IoSliceMut::new(&mut greeting)];
    #[cfg(target_os = "linux")]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(target_os = "linux"))]
    let flags = RecvFlags::empty();
    rustix::net::recvmsg(line, &mut room, &mut ancillary, flags).ok()?;
    ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    })
}
