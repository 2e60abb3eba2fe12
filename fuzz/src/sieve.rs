//! An event stream in which lists are filtered as it passes: a reader of what passes finds the events that a reader of the
//! whole stream finds, each filtered, and finds the same wherever the stream was cut.

use doorward_mcp::list::{Keep, filter};
use doorward_mcp::sse::{Event, EventReader, EventTooLong, Events, Verdict};

const LIMIT: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unreadable;

impl From<EventTooLong> for Unreadable {
    fn from(_: EventTooLong) -> Self {
        Self
    }
}

/// Names with an `x` are hidden, those with an `m` are marked.
fn verdict(name: &str) -> Keep {
    match name {
        _ if name.contains('x') => Keep::Drop,
        _ if name.contains('m') => Keep::Mark(vec!["scope".into()]),
        _ => Keep::Keep,
    }
}

/// What becomes of the data of one event. What holds `drop` and no list is held back, as news for others are.
fn judge(data: &[u8]) -> Result<Verdict, Unreadable> {
    let filtered = filter(data, None, &mut |_, name| verdict(name)).map_err(|_| Unreadable)?;
    Ok(match filtered {
        Some(filtered) => Verdict::Replace(filtered),
        None if data.windows(4).any(|window| window == b"drop") => Verdict::Drop,
        None => Verdict::Pass,
    })
}

fn passed(pieces: &[&[u8]]) -> Result<Vec<u8>, Unreadable> {
    let (mut events, mut out) = (Events::new(LIMIT), Vec::new());
    for piece in pieces {
        events.push(piece, &mut out, &mut judge)?;
    }
    Ok(out)
}

/// What a reader finds: its events, when to come back, and where to go on.
fn read(stream: &[u8]) -> (Vec<Event>, Option<u64>, String) {
    let mut reader = EventReader::new(16 * LIMIT);
    let events = reader.push(stream).expect("shorter than the limit");
    (events, reader.retry(), reader.last_event_id().to_owned())
}

/// The first two bytes of `input` say where to split the rest, which is a stream.
pub fn check(input: &[u8]) {
    let Some((cuts, stream)) = input.split_first_chunk::<2>() else {
        return;
    };
    if stream.len() > LIMIT {
        return;
    }
    let whole = passed(&[stream]);
    let one_by_one: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(passed(&one_by_one), whole);
    let [first, second] = cuts.map(|cut| usize::from(cut).min(stream.len()));
    let (start, rest) = stream.split_at(first);
    let (middle, end) = rest.split_at(second.min(rest.len()));
    let cut = passed(&[start, middle, end]);

    let (events, _, _) = read(stream);
    let Ok(whole) = whole else {
        assert!(cut.is_err());
        let unreadable =
            |event: &Event| judge(event.data.as_bytes()).is_err() || event.data.contains('\u{fffd}');
        assert!(
            events.iter().any(unreadable),
            "only what cannot be read ends a stream"
        );
        return;
    };
    assert_eq!(read(&cut.unwrap()), read(&whole));
    let expected: Vec<Event> = events
        .into_iter()
        .filter_map(|event| match judge(event.data.as_bytes()) {
            Ok(Verdict::Pass) => Some(event),
            Ok(Verdict::Replace(data)) => Some(Event {
                data: String::from_utf8(data).unwrap(),
                ..event
            }),
            Ok(Verdict::Drop) | Err(Unreadable) => None,
        })
        .collect();
    let (passed, ..) = read(&whole);
    assert_eq!(passed, expected);
}
