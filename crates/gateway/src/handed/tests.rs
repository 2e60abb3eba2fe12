use super::*;

const NOW: UnixTime = UnixTime::from_seconds(1_000);

fn task<'a>(id: &'a str, tool: &'a str, lasts: Option<Duration>) -> Task<'a> {
    Task {
        id,
        tool,
        lasts,
        shared: true,
    }
}

fn holder(user: u128, client: &str) -> Holder {
    Holder {
        user: UserId::from_uuid(uuid::Uuid::from_u128(user)),
        client: ClientId::new(client),
    }
}

#[test]
fn mb_14_a_task_is_its_caller_s_alone_and_for_its_time() {
    let handed = HandedOut::default();
    let (alice, bob, other) = (holder(1, "c1"), holder(2, "c1"), holder(1, "c2"));
    handed.task(&alice, &task("t1", "slow", None), NOW);
    assert_eq!(handed.tool_of(&alice, "t1", NOW).as_deref(), Some("slow"));
    for (holder, task) in [(&bob, "t1"), (&other, "t1"), (&alice, "t2"), (&alice, "T1")] {
        assert_eq!(handed.tool_of(holder, task, NOW), None, "{holder:?} {task}");
    }
    let day = Duration::from_secs(24 * 3600);
    assert!(
        handed
            .tool_of(&alice, "t1", NOW.plus(day - Duration::from_secs(1)))
            .is_some()
    );
    assert!(handed.tool_of(&alice, "t1", NOW.plus(day)).is_none());
    handed.task(&alice, &task("t1", "slow", Some(3 * day)), NOW);
    assert!(handed.tool_of(&alice, "t1", NOW.plus(2 * day)).is_some());
    handed.task(&alice, &task("t3", "slow", Some(Duration::MAX)), NOW);
    assert!(handed.tool_of(&alice, "t3", NOW.plus(31 * day)).is_none());
}

#[test]
fn mb_18_a_state_is_good_for_its_own_call_and_an_hour() {
    let handed = HandedOut::default();
    let (alice, bob) = (holder(1, "c1"), holder(2, "c1"));
    handed.request_state(&alice, "tools/call", "a", "xyz", NOW);
    assert!(handed.has_state(&alice, "tools/call", "a", "xyz", NOW));
    for (holder, method, name, state) in [
        (&bob, "tools/call", "a", "xyz"),
        (&alice, "prompts/get", "a", "xyz"),
        (&alice, "tools/call", "b", "xyz"),
        (&alice, "tools/call", "a", "xyZ"),
        (&alice, "tools/call", "a", ""),
        (&alice, "tools/call", "", "a\nxyz"),
    ] {
        assert!(
            !handed.has_state(holder, method, name, state, NOW),
            "{method} {name} {state}"
        );
    }
    let hour = Duration::from_secs(3600);
    assert!(!handed.has_state(&alice, "tools/call", "a", "xyz", NOW.plus(hour)));
}

#[test]
fn ds_a_caller_pushes_out_its_own_alone() {
    let handed = HandedOut::default();
    let (alice, bob) = (holder(1, "c1"), holder(2, "c1"));
    handed.task(&bob, &task("bob's", "slow", None), NOW);
    for number in 0..20_000 {
        handed.task(&alice, &task(&format!("task {number}"), "slow", None), NOW);
    }
    assert!(handed.tool_of(&bob, "bob's", NOW).is_some());
    assert!(handed.tool_of(&alice, "task 19999", NOW).is_some());
    assert!(handed.tool_of(&alice, "task 0", NOW).is_none());
    let state = handed.state();
    let entries = state.holders.values().map(|held| held.entries.len());
    assert_eq!(state.owners.len(), entries.sum::<usize>());
    assert!(state.bytes <= 2 * PER_HOLDER);
    assert_eq!(
        state.bytes,
        state.holders.values().map(|held| held.bytes).sum::<usize>()
    );
}

#[test]
fn ds_memory_is_bounded_and_who_holds_most_loses_first() {
    let handed = HandedOut::default();
    let bob = holder(1_000_000, "c1");
    handed.task(&bob, &task("bob's", "slow", None), NOW);
    let long = "x".repeat(LONGEST / 2);
    for user in 0..300 {
        for number in 0..4 {
            let id = format!("{number}{long}");
            handed.task(&holder(user, "c1"), &task(&id, "slow", None), NOW);
        }
    }
    assert!(handed.tool_of(&bob, "bob's", NOW).is_some());
    handed.task(&bob, &task(&"x".repeat(LONGEST), "slow", None), NOW);
    assert!(handed.tool_of(&bob, &"x".repeat(LONGEST), NOW).is_none());
    let state = handed.state();
    assert!(state.bytes <= TOTAL);
    assert_eq!(
        state.bytes,
        state.holders.values().map(|held| held.bytes).sum::<usize>()
    );
}

#[test]
fn mb_14_an_id_that_is_given_out_again_is_no_longer_whose_it_was() {
    let handed = HandedOut::default();
    let (alice, bob) = (holder(1, "c1"), holder(2, "c1"));
    handed.task(&alice, &task("1", "slow", None), NOW);
    handed.task(&bob, &task("1", "fast", None), NOW);
    assert_eq!(handed.tool_of(&alice, "1", NOW), None);
    assert_eq!(handed.tool_of(&bob, "1", NOW).as_deref(), Some("fast"));
    handed.task(&alice, &task("1", "slow", None), NOW);
    assert_eq!(handed.tool_of(&bob, "1", NOW), None);
    // Each user's own process counts from the beginning.
    let (mine, theirs) = (task("2", "slow", None), task("2", "fast", None));
    handed.task(
        &alice,
        &Task {
            shared: false,
            ..mine
        },
        NOW,
    );
    handed.task(
        &bob,
        &Task {
            shared: false,
            ..theirs
        },
        NOW,
    );
    assert_eq!(handed.tool_of(&alice, "2", NOW).as_deref(), Some("slow"));
    assert_eq!(handed.tool_of(&bob, "2", NOW).as_deref(), Some("fast"));
    let state = handed.state();
    assert_eq!(
        state.bytes,
        state.holders.values().map(|held| held.bytes).sum::<usize>()
    );
    assert_eq!(state.owners.len(), 1);
}

#[test]
fn mb_14_of_two_calls_with_one_id_nobody_knows_which_became_the_task() {
    let handed = HandedOut::default();
    let (alice, bob) = (holder(1, "c1"), holder(2, "c1"));
    handed.call(&alice, "s", "7", "slow", NOW);
    handed.call(&alice, "s", "7", "slow", NOW);
    let tool = |holder, session, id| handed.tool_of_call(holder, session, id, NOW);
    assert_eq!(tool(&alice, "s", "7").as_deref(), Some("slow"));
    for (holder, session, id) in [(&bob, "s", "7"), (&alice, "", "7"), (&alice, "s", "\"7\"")] {
        assert_eq!(tool(holder, session, id), None);
    }
    handed.call(&alice, "s", "7", "fast", NOW);
    assert_eq!(tool(&alice, "s", "7"), None);
    handed.call(&alice, "s", "7", "slow", NOW);
    assert_eq!(tool(&alice, "s", "7"), None);
}

#[test]
fn mb_14_calls_push_out_no_task() {
    let handed = HandedOut::default();
    let alice = holder(1, "c1");
    let consistent = || {
        let state = handed.state();
        let held = &state.holders[&alice];
        assert_eq!(held.entries.len(), held.order.len() + held.calls.len());
        assert_eq!(state.bytes, held.bytes);
        assert!(held.bytes <= PER_HOLDER);
    };
    handed.task(&alice, &task("t1", "slow", None), NOW);
    handed.request_state(&alice, "tools/call", "a", "xyz", NOW);
    for number in 0..20_000 {
        handed.call(&alice, "s", &number.to_string(), "slow", NOW);
    }
    consistent();
    assert!(handed.tool_of(&alice, "t1", NOW).is_some());
    assert!(handed.has_state(&alice, "tools/call", "a", "xyz", NOW));
    let tool = |id: &str| handed.tool_of_call(&alice, "s", id, NOW);
    assert_eq!((tool("0"), tool("19999").as_deref()), (None, Some("slow")));
    // One whose tasks take all the room has some for the call whose answer is to come.
    for number in 0..20_000 {
        handed.task(&alice, &task(&format!("task {number}"), "slow", None), NOW);
    }
    handed.call(&alice, "s", "last", "slow", NOW);
    consistent();
    assert_eq!(tool("last").as_deref(), Some("slow"));
    assert!(handed.tool_of(&alice, "task 19999", NOW).is_some());
}
