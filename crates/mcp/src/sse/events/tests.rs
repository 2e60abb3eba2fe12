use crate::sse::EventReader;

use super::*;

/// Says what becomes of an event by its data, and how it went through, however it is cut.
fn through(text: &str) -> String {
    let mut judge = |data: &[u8]| -> Result<Verdict, TooLong> {
        Ok(match data {
            b"drop" => Verdict::Drop,
            b"change" => Verdict::Replace(b"one\ntwo".to_vec()),
            _ => Verdict::Pass,
        })
    };
    let mut whole = Vec::new();
    Events::new(1024)
        .push(text.as_bytes(), &mut whole, &mut judge)
        .unwrap();
    for cut in 0..=text.len() {
        let (one, other) = text.as_bytes().split_at(cut);
        let (mut events, mut out) = (Events::new(1024), Vec::new());
        events.push(one, &mut out, &mut judge).unwrap();
        events.push(other, &mut out, &mut judge).unwrap();
        let read = |bytes: &[u8]| {
            let mut reader = EventReader::new(1024);
            let events = reader.push(bytes).unwrap();
            (events, reader.retry(), reader.last_event_id().to_owned())
        };
        assert_eq!(read(&out), read(&whole), "{text:?} cut at {cut}");
    }
    let mut bytewise = Vec::new();
    let mut events = Events::new(1024);
    for byte in text.as_bytes() {
        events.push(&[*byte], &mut bytewise, &mut judge).unwrap();
    }
    assert_eq!(bytewise, whole, "{text:?} byte by byte");
    String::from_utf8(whole).unwrap()
}

#[test]
fn what_is_not_judged_away_passes_byte_for_byte() {
    for text in [
        "",
        "data: 1\n\n",
        "data:1\r\n\r\n",
        "data: 1\r\r",
        ": ping\n\n",
        ":\n\nid: 7\nevent: message\nretry: 5\ndata: a\ndata: b\n\n",
        "\u{feff}data: 1\n\n",
        "data\n\n",
        "id: 1\n\n",
        "retry: 10\n\n",
        "\n\n\n",
        "nonsense\n\ndata: x\n: within\n\n",
    ] {
        assert_eq!(through(text), text);
    }
}

#[test]
fn what_is_no_whole_event_does_not_pass() {
    for (text, passed) in [
        ("data: 1\n", ""),
        ("data: 1", ""),
        (": ping", ""),
        ("data: 1\n\ndata: 2\n", "data: 1\n\n"),
        (": ping\ndata: 2\n", ": ping\n"),
        ("id: 3\ndata: 1\n: x\n", ""),
    ] {
        assert_eq!(through(text), passed, "{text:?}");
    }
}

#[test]
fn an_event_is_changed_or_dropped_and_the_stream_goes_on() {
    for (text, passed) in [
        ("data: drop\n\n", "\n"),
        (
            "id: 5\nevent: message\nretry: 9\ndata: drop\n\n",
            "id: 5\nretry: 9\n\n",
        ),
        ("data:drop\r\n\r\ndata: 1\r\n\r\n", "\r\ndata: 1\r\n\r\n"),
        ("data: drop\n\ndata: drop\n\ndata: 1\n\n", "\n\ndata: 1\n\n"),
        ("data: change\n\n", "data: one\ndata: two\n\n"),
        (
            "id: 5\ndata: change\nretry: 1\n\n",
            "id: 5\ndata: one\ndata: two\nretry: 1\n\n",
        ),
        ("\u{feff}data: change\n\n", "data: one\ndata: two\n\n"),
        ("data: dr\ndata: op\n\n", "data: dr\ndata: op\n\n"),
    ] {
        assert_eq!(through(text), passed, "{text:?}");
    }
}

#[test]
fn ds_an_event_that_is_too_long_is_an_error_and_frees_its_memory() {
    let mut judge = |_: &[u8]| -> Result<Verdict, TooLong> { Ok(Verdict::Pass) };
    let mut events = Events::new(64);
    let mut out = Vec::new();
    for _ in 0..1000 {
        events
            .push(b"data: 123456\n\n: ping\n", &mut out, &mut judge)
            .unwrap();
    }
    events.push(&[b'x'; 64], &mut out, &mut judge).unwrap();
    assert_eq!(events.push(b"x", &mut out, &mut judge), Err(TooLong));
    assert_eq!(events.block.capacity(), 0);
}
