use std::sync::Arc;

use doorward_types::time::FixedClock;

use super::*;

const START: UnixTime = UnixTime::from_seconds(1_800_000_000);
const HOUR: Duration = Duration::from_hours(1);
const YEARS: Duration = Duration::from_hours(10 * 365 * 24);

fn at(time: UnixTime) -> Option<Mark> {
    Some(Mark {
        floor: time,
        present: time,
    })
}

fn clocks(mark: Option<Mark>) -> (Arc<FixedClock>, SteadyClock<Arc<FixedClock>>) {
    let wall = Arc::new(FixedClock::new(START));
    let steady = SteadyClock::start(Arc::clone(&wall), mark);
    (wall, steady)
}

/// Time passes, and the clocks are compared every second.
fn pass(wall: &FixedClock, steady: &SteadyClock<Arc<FixedClock>>, seconds: u64) {
    for _ in 0..seconds {
        wall.advance(Duration::from_secs(1));
        steady.look();
    }
}

#[test]
fn ft_10_an_undisturbed_clock_is_the_wall_clock() {
    let (wall, steady) = clocks(None);
    pass(&wall, &steady, 7200);
    assert_eq!((steady.now(), steady.certain()), (wall.now(), wall.now()));
    assert_eq!(steady.standing(), Standing::Together);
    wall.set(wall.now().plus(STEP));
    assert_eq!(steady.look(), None, "a small correction is no step");
    assert_eq!(steady.certain(), wall.now());
}

#[test]
fn ft_10_set_back_the_present_goes_on_and_never_returns() {
    for back in [HOUR, YEARS] {
        let (wall, steady) = clocks(None);
        pass(&wall, &steady, 100);
        let before = steady.now();
        wall.set(before.minus(back));
        assert!(steady.now() >= before, "before anybody compared the clocks");
        assert_eq!(steady.look(), Some(Standing::Behind));
        let mut last = steady.now();
        for _ in 0..100 {
            wall.advance(Duration::from_millis(700));
            assert!(steady.now() > last, "time goes on");
            last = steady.now();
            steady.look();
            assert!(steady.now() >= last, "and comparing takes nothing back");
        }
        let passed = last.since(before);
        assert!(
            (Duration::from_secs(63)..=Duration::from_secs(70)).contains(&passed),
            "by the time that passed, at most a tenth less: {passed:?}"
        );
    }
}

#[test]
fn ft_10_a_clock_that_was_wrong_before_meets_the_right_one_again() {
    let (wall, steady) = clocks(None);
    wall.set(START.minus(HOUR));
    assert_eq!(steady.look(), Some(Standing::Behind));
    pass(&wall, &steady, 10 * 3600);
    assert_eq!(steady.standing(), Standing::Together);
    assert_eq!(steady.now(), wall.now());
}

#[test]
fn ft_10_set_forward_things_expire_but_nothing_is_certainly_over() {
    for forward in [HOUR, YEARS] {
        let (wall, steady) = clocks(None);
        let right = wall.now();
        wall.set(right.plus(forward));
        assert_eq!(steady.now(), wall.now());
        assert_eq!(
            steady.standing(),
            Standing::Ahead,
            "noticed by whoever asked first"
        );
        assert_eq!(steady.certain(), right);
        pass(&wall, &steady, 3600);
        assert_eq!(steady.certain(), right.plus(HOUR), "by the time that passed");
    }
}

#[test]
fn ft_10_a_mistake_of_an_hour_is_not_taken_back_and_one_of_years_is() {
    let (wall, steady) = clocks(None);
    wall.set(START.plus(HOUR));
    assert_eq!(steady.now(), START.plus(HOUR));
    wall.set(START);
    assert_eq!(steady.look(), Some(Standing::Behind));
    assert_eq!(
        (steady.now(), steady.certain()),
        (START.plus(HOUR), START),
        "what was told expired stays so, and nothing is swept"
    );
    pass(&wall, &steady, 11 * 3600);
    assert_eq!(steady.standing(), Standing::Together);
    assert_eq!(steady.now(), wall.now());

    let right = wall.now();
    wall.set(right.plus(YEARS));
    assert_eq!(steady.now(), right.plus(YEARS));
    wall.set(right);
    assert_eq!(steady.look(), Some(Standing::Together), "nobody waits ten years");
    assert_eq!((steady.now(), steady.certain()), (right, right));

    wall.set(right.plus(YEARS));
    steady.look();
    wall.set(right.minus(HOUR));
    assert_eq!(steady.look(), Some(Standing::Behind));
    assert_eq!(steady.now(), right, "never before what is certain");
}

#[test]
fn ft_10_a_clock_that_stays_ahead_is_believed_after_a_while() {
    let (wall, steady) = clocks(None);
    wall.set(START.plus(HOUR));
    steady.look();
    let hours = BELIEVED_AFTER.as_secs();
    pass(&wall, &steady, hours - 1);
    assert_eq!(steady.standing(), Standing::Ahead);
    wall.set(wall.now().plus(YEARS));
    pass(&wall, &steady, hours);
    assert_eq!(steady.standing(), Standing::Ahead, "another step begins anew");
    pass(&wall, &steady, 2);
    assert_eq!(steady.standing(), Standing::Together);
    assert_eq!(steady.certain(), wall.now());
}

#[test]
fn ft_10_a_later_process_starts_where_the_mark_is() {
    for later in [HOUR, YEARS] {
        let (_, steady) = clocks(at(START.plus(later)));
        assert_eq!(steady.standing(), Standing::Behind);
        assert_eq!(steady.now(), START.plus(later), "what had expired is expired");
        assert_eq!(steady.certain(), START.plus(later));
    }
    let (_, steady) = clocks(at(START.minus(YEARS)));
    assert_eq!(steady.standing(), Standing::Ahead);
    assert_eq!((steady.now(), steady.certain()), (START, START.minus(YEARS)));
    let (_, steady) = clocks(at(START.minus(STEP)));
    assert_eq!(steady.certain(), START, "a restart");
    let excursion = |present| Mark {
        floor: START,
        present: START.plus(present),
    };
    assert_eq!(clocks(Some(excursion(HOUR))).1.now(), START.plus(HOUR));
    assert_eq!(
        clocks(Some(excursion(YEARS))).1.now(),
        START,
        "that was a mistake"
    );
}

#[test]
fn a_mark_is_read_as_it_was_written() {
    let (wall, steady) = clocks(None);
    wall.set(START.plus(HOUR));
    let _now = steady.now();
    let mark = steady.mark();
    assert_eq!(
        mark,
        Mark {
            floor: START,
            present: START.plus(HOUR)
        }
    );
    assert_eq!(Mark::from_bytes(&mark.to_bytes()), Some(mark));
    for bad in [
        &b""[..],
        b"soon",
        b"5",
        b"5 x",
        b"\xff 5",
        b"5 99999999999999999999",
    ] {
        assert_eq!(Mark::from_bytes(bad), None);
    }
    let later = MachineClock.now().plus(HOUR);
    remember(Some(b"soon"));
    remember(None);
    assert!(present_for_command() < later);
    remember(at(later).map(Mark::to_bytes).as_deref());
    assert!(present_for_command() >= later);
}

#[test]
fn the_question_whether_anybody_asked_is_answered_once() {
    let (_, steady) = clocks(None);
    assert!(steady.was_asked());
    assert!(!steady.was_asked());
    let _now = steady.now();
    assert!(steady.was_asked());
}
