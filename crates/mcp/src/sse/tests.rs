use proptest::prelude::*;

use super::{Event, EventReader, KEEP_ALIVE, TooLong, event};

fn read(stream: &[u8]) -> Vec<Event> {
    EventReader::new(1 << 20).push(stream).unwrap()
}

fn data(stream: &str) -> Vec<String> {
    read(stream.as_bytes())
        .into_iter()
        .map(|event| event.data)
        .collect()
}

fn message(data: &str) -> Event {
    Event {
        data: data.to_owned(),
        ..Event::default()
    }
}

#[test]
fn the_standard_s_examples() {
    assert_eq!(
        data(
            "data: This is the first message.\n\ndata: This is the second message, it\ndata: has two lines.\n\ndata: This is the third message.\n\n"
        ),
        [
            "This is the first message.",
            "This is the second message, it\nhas two lines.",
            "This is the third message."
        ]
    );
    let typed = read(b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\ndata: x\n\n");
    let kinds: Vec<_> = typed.iter().map(|event| &*event.kind).collect();
    assert_eq!(kinds, ["add", "remove", ""]);
    assert_eq!(data("data: YHOO\ndata: +2\ndata: 10\n\n"), ["YHOO\n+2\n10"]);
    let stream =
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
    let events = read(stream.as_bytes());
    let seen: Vec<_> = events.iter().map(|event| (&*event.data, &*event.id)).collect();
    assert_eq!(
        seen,
        [("first event", "1"), ("second event", ""), (" third event", "")]
    );
    assert_eq!(data("data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
    assert_eq!(data("data:test\n\ndata: test\n\n"), ["test", "test"]);
}

#[test]
fn every_line_break_and_odd_field() {
    for stream in [
        "data: a\r\ndata: b\r\n\r\n",
        "data: a\rdata: b\r\r",
        "data: a\ndata: b\n\n",
        "data: a\r\ndata: b\r\r\n",
        "\u{feff}data: a\ndata: b\n\n",
        "unknown: 1\n:\n:data: c\ndata: a\nData: x\n data: x\ndata: b\n\n",
    ] {
        assert_eq!(data(stream), ["a\nb"], "{stream:?}");
    }
    assert_eq!(
        data("\u{feff}\u{feff}data: a\n\n"),
        [""; 0],
        "only one mark is skipped"
    );
    assert_eq!(data("data: a\n"), [""; 0], "cut off");
    assert_eq!(data("event: x\n\n"), [""; 0], "an event without data is none");
    let replaced = read(b"data: \xff\xe2\x82\n\n");
    assert_eq!(replaced, [message("\u{fffd}\u{fffd}")]);
    assert_eq!(
        read(b"\xef\xbbdata: a\n\ndata: b\n\n"),
        [message("b")],
        "half a mark"
    );
}

#[test]
fn where_to_resume() {
    let mut reader = EventReader::new(100);
    assert_eq!(
        reader.push(b"id: 1\nretry: 1500\n\nid: 2\nretry: 1x\n").unwrap(),
        []
    );
    assert_eq!((reader.last_event_id(), reader.retry()), ("1", Some(1500)));
    let events = reader.push(b"data:\n\nid: 3\0\ndata: x\n\n").unwrap();
    let seen: Vec<_> = events.iter().map(|event| (&*event.data, &*event.id)).collect();
    assert_eq!(seen, [("", "2"), ("x", "2")]);
    reader.push(b"retry: 99999999999999999999999\n").unwrap();
    assert_eq!(reader.retry(), Some(1500));
}

#[test]
fn ds_05_a_reader_holds_no_more_than_its_limit() {
    let long = "x".repeat(101);
    for stream in [
        format!("data: {long}"),
        long,
        "data: x\n".repeat(60),
        "data\n".repeat(110),
        format!("data: {}\n", "\u{e9}".repeat(60)),
    ] {
        for step in [1, 7, stream.len()] {
            let mut reader = EventReader::new(100);
            let told = stream
                .as_bytes()
                .chunks(step)
                .find_map(|piece| reader.push(piece).err());
            assert_eq!(told, Some(TooLong { limit: 100 }), "{}", &stream[..20]);
            assert!(reader.push(b"\n\n").is_err(), "it stays ended");
        }
    }
    let mut reader = EventReader::new(100);
    for _ in 0..1000 {
        reader.push(b"data: 0123456789\n\n:\n").unwrap();
    }
}

#[test]
fn what_is_written_is_one_event() {
    assert_eq!(event(b"{}"), "data: {}\n\n");
    assert_eq!(event(b""), "data: \n\n");
    assert_eq!(event(b"a\r\nb\rc\n"), "data: a\ndata: b\ndata: c\ndata: \n\n");
    let forged = Event {
        kind: "k\ndata: forged".into(),
        data: "d".into(),
        id: "1\r\n\r\ndata: forged".into(),
    };
    assert_eq!(forged.write(), "id: 1\nevent: k\ndata: d\n\n");
    assert_eq!(read(KEEP_ALIVE), []);
}

const PIECES: &[&[u8]] = &[
    b"data: a",
    b"data",
    b"id: 1",
    b"event:x",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\xef\xbb\xbf",
    b"\xef",
    b":",
    b"\xe2\x82\xac",
    b"\xe2\x82",
    b"retry: 5",
    b"\0",
];

proptest! {
    #[test]
    fn what_is_written_is_read_back(events in prop::collection::vec(("[^\r\n\u{feff}]{0,12}", "\\PC{0,3}[\n\r]{0,2}.{0,20}", "[a-z0-9\u{e9}]{1,8}"), 0..6)) {
        let events: Vec<Event> = events
            .into_iter()
            .map(|(kind, data, id)| Event { kind: kind.replace('\0', ""), data: data.replace("\r\n", "\n").replace('\r', "\n"), id })
            .collect();
        let stream: Vec<u8> = events.iter().flat_map(|event| event.write()).collect();
        prop_assert_eq!(read(&stream), events);
    }

    /// Any bytes, split anywhere, are the same events.
    #[test]
    fn splitting_changes_nothing(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..24),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let stream = pieces.concat();
        let whole = read(&stream);
        let mut one_by_one = EventReader::new(1 << 20);
        let singles: Vec<_> = stream.iter().flat_map(|byte| one_by_one.push(&[*byte]).unwrap()).collect();
        prop_assert_eq!(&singles, &whole);
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        let mut reader = EventReader::new(1 << 20);
        let split: Vec<_> = at.windows(2).flat_map(|cut| reader.push(&stream[cut[0]..cut[1]]).unwrap()).collect();
        prop_assert_eq!(&split, &whole);
        prop_assert_eq!(reader.last_event_id(), one_by_one.last_event_id());
        prop_assert_eq!(reader.retry(), one_by_one.retry());
    }
}
