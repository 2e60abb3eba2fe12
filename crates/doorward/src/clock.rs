//! A present that somebody who sets the machine's clock does not move backwards, and a past that is not
//! forgotten because the clock was wrong for a while (FT-10).
//!
//! Beside the wall clock go two times of our own. The *floor* is what is certain: it starts at what the wall clock
//! showed (or at the mark that an earlier process left), goes on by time that really passed, and follows the
//! wall clock's small corrections. The *present* is the latest time that the wall clock ever showed, going on.
//!
//! | the wall clock is | the present | the floor, by which is swept |
//! |---|---|---|
//! | together with both, or up to [`STEP`] before them | follows it | follows it |
//! | behind the present, by less than [`FAR`] | goes on a tenth slower, until they meet: what has expired stays expired | likewise, if it is behind that too |
//! | behind the present by more, but not behind the floor | joins it: that time was a mistake | follows it |
//! | behind both by more | goes on: the wall clock is broken | goes on |
//! | further ahead | follows it: things expire at once | goes on by time that passed; joins after [`BELIEVED_AFTER`] without another step, so that a mistake can be undone until then |

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use doorward_types::time::{Clock, SystemClock, UnixTime};

/// Clocks may be so far apart without anybody having set one: a restart takes time, and small corrections are
/// steps too.
const STEP: Duration = Duration::from_mins(1);

/// A wall clock that was set forward is believed after so long.
const BELIEVED_AFTER: Duration = Duration::from_hours(6);

/// A clock that was set back by less is waited for.
const FAR: Duration = Duration::from_hours(24);

/// The machine's clock, with a monotonic time that goes on while the machine sleeps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MachineClock;

impl Clock for MachineClock {
    fn now(&self) -> UnixTime {
        SystemClock.now()
    }

    #[cfg(target_os = "linux")]
    fn monotonic(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
    }

    #[cfg(not(target_os = "linux"))]
    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }
}

/// How the wall clock stands to what we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Within [`STEP`].
    Together,
    /// It shows a time that is over.
    Behind,
    /// It shows a time that has not come yet, as far as we know.
    Ahead,
}

/// What an earlier process knew last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) floor: UnixTime,
    pub(crate) present: UnixTime,
}

impl Mark {
    /// How it is kept: milliseconds of both, in words.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        format!("{} {}", self.floor.millis(), self.present.millis()).into_bytes()
    }

    /// Reads it back; `None` of something else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (floor, present) = std::str::from_utf8(bytes).ok()?.split_once(' ')?;
        let time = |millis: &str| millis.parse().ok().map(UnixTime::from_millis);
        Some(Self {
            floor: time(floor)?,
            present: time(present)?,
        })
    }
}

static REMEMBERED: OnceLock<Mark> = OnceLock::new();

/// Notes what a server knew, for the command that this process is.
pub(crate) fn remember(mark: Option<&[u8]>) {
    if let Some(mark) = mark.and_then(Mark::from_bytes) {
        REMEMBERED.get_or_init(|| mark);
    }
}

/// The present for a command. A mark in the far future is a mistake that the server has yet to forget.
pub(crate) fn present_for_command() -> UnixTime {
    SteadyClock::start(MachineClock, REMEMBERED.get().copied()).now()
}

/// Both times of ours, as of some moment.
#[derive(Clone, Copy, Debug)]
struct Times {
    at: Duration,
    floor: UnixTime,
    floor_slowed: bool,
    present: UnixTime,
    present_slowed: bool,
}

impl Times {
    fn floor(&self, monotonic: Duration) -> UnixTime {
        self.floor.plus(self.passed(monotonic, self.floor_slowed))
    }

    fn present(&self, monotonic: Duration) -> UnixTime {
        self.present.plus(self.passed(monotonic, self.present_slowed))
    }

    fn passed(&self, monotonic: Duration, slowed: bool) -> Duration {
        let passed = monotonic.saturating_sub(self.at);
        if slowed {
            passed.saturating_sub(passed / 10)
        } else {
            passed
        }
    }
}

/// What only [`SteadyClock::look`] needs.
#[derive(Debug)]
struct Watched {
    standing: Standing,
    wall: UnixTime,
    at: Duration,
    /// Since when, in monotonic time, the wall clock has been ahead of the floor without a step.
    ahead_since: Option<Duration>,
}

/// A clock around another one. [`SteadyClock::look`] is to be called every second or so.
pub(crate) struct SteadyClock<C> {
    inner: C,
    times: RwLock<Times>,
    watched: Mutex<Watched>,
    /// Whether anybody asked for the time since [`SteadyClock::was_asked`] said so.
    asked: AtomicBool,
}

impl<C: Clock> SteadyClock<C> {
    /// Starts it at `mark`, or at the wall clock.
    pub(crate) fn start(inner: C, mark: Option<Mark>) -> Self {
        let (wall, at) = (inner.now(), inner.monotonic());
        let mark = mark.unwrap_or(Mark {
            floor: wall,
            present: wall,
        });
        let clock = Self {
            inner,
            times: RwLock::new(Times {
                at,
                floor: mark.floor,
                floor_slowed: false,
                present: mark.present,
                present_slowed: false,
            }),
            watched: Mutex::new(Watched {
                standing: Standing::Together,
                wall,
                at,
                ahead_since: None,
            }),
            asked: AtomicBool::new(true),
        };
        clock.look();
        clock
    }

    /// Compares the clocks. How they stand now, if it is not as before.
    pub(crate) fn look(&self) -> Option<Standing> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let (wall, at) = (self.inner.now(), self.inner.monotonic());
        let times = self.times();
        let floor = times.floor(at);
        let expected = watched.wall.plus(at.saturating_sub(watched.at));
        let stepped = wall.since(expected) > STEP || expected.since(wall) > STEP;
        let ahead = wall.since(floor) > STEP;
        let since = watched.ahead_since.filter(|_| ahead && !stepped).unwrap_or(at);
        let believed = at.saturating_sub(since) >= BELIEVED_AFTER;
        let floor = if ahead && !believed {
            floor
        } else {
            floor.max(wall)
        };

        let best = wall.max(floor);
        let present = times.present(at);
        let present = if present.since(best) >= FAR {
            best
        } else {
            present.max(best)
        };
        let slowed = |time: UnixTime| time > wall && time.since(wall) < FAR;
        *self.times.write().unwrap_or_else(PoisonError::into_inner) = Times {
            at,
            floor,
            floor_slowed: slowed(floor),
            present,
            present_slowed: slowed(present),
        };
        let standing = if present.since(wall) > STEP {
            Standing::Behind
        } else if wall.since(floor) > STEP {
            Standing::Ahead
        } else {
            Standing::Together
        };
        watched.ahead_since = (wall.since(floor) > STEP).then_some(since);
        (watched.wall, watched.at) = (wall, at);
        let before = std::mem::replace(&mut watched.standing, standing);
        (before != standing).then_some(standing)
    }

    /// How the clocks stood when they were compared last.
    pub(crate) fn standing(&self) -> Standing {
        self.watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .standing
    }

    /// What a later process should know.
    pub(crate) fn mark(&self) -> Mark {
        let (times, at) = (self.times(), self.inner.monotonic());
        Mark {
            floor: times.floor(at),
            present: times.present(at),
        }
    }

    /// Whether the time mattered to anybody since this was last asked.
    pub(crate) fn was_asked(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }

    fn times(&self) -> Times {
        *self.times.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Clock> Clock for SteadyClock<C> {
    fn now(&self) -> UnixTime {
        if !self.asked.load(Ordering::Relaxed) {
            self.asked.store(true, Ordering::Relaxed);
        }
        let (wall, at) = (self.inner.now(), self.inner.monotonic());
        let present = self.times().present(at);
        if wall.since(present) > STEP {
            // Remembered at once: whoever is told "expired" now must not hear otherwise a moment later.
            self.look();
        }
        wall.max(present)
    }

    fn monotonic(&self) -> Duration {
        self.inner.monotonic()
    }

    fn certain(&self) -> UnixTime {
        self.times().floor(self.inner.monotonic())
    }
}

impl<C> std::fmt::Debug for SteadyClock<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SteadyClock")
    }
}

/// [`SteadyClock`] on the machine's clock.
pub(crate) type ServerClock = SteadyClock<MachineClock>;

#[cfg(test)]
mod tests;
