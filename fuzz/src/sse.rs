//! Event streams: the same events wherever they are split, those of the standard, and written ones come back.

use doorward_mcp::sse::{Event, EventReader, TooLong, event};

const LIMIT: usize = 4096;

/// The first two bytes of `input` say where to split the rest, which is a stream.
pub fn check(input: &[u8]) {
    let Some((cuts, stream)) = input.split_first_chunk::<2>() else {
        return;
    };
    let whole = read(&[stream]);
    let one_by_one: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(read(&one_by_one), whole);
    let [first, second] = cuts.map(|cut| usize::from(cut).min(stream.len()));
    let (start, rest) = stream.split_at(first);
    let (middle, end) = rest.split_at(second.min(rest.len()));
    assert_eq!(read(&[start, middle, end]), whole);

    let Ok(events) = whole else {
        assert!(stream.len() > LIMIT / 3, "nothing short is too long");
        return;
    };
    if stream.len() < LIMIT / 3 {
        assert_eq!(events, standard(stream));
    }
    // Replaced bytes are longer than those they replace, and a space comes before each line.
    let limit = 8 * LIMIT;
    for one in events {
        assert_eq!(read_up_to(limit, &[&one.write()]), Ok(vec![one.clone()]));
        let alone = event(one.data.as_bytes());
        let data = Event {
            data: one.data,
            ..Event::default()
        };
        assert_eq!(read_up_to(limit, &[&alone]), Ok(vec![data]));
    }
}

fn read(pieces: &[&[u8]]) -> Result<Vec<Event>, TooLong> {
    read_up_to(LIMIT, pieces)
}

fn read_up_to(limit: usize, pieces: &[&[u8]]) -> Result<Vec<Event>, TooLong> {
    let mut reader = EventReader::new(limit);
    let mut events = Vec::new();
    for piece in pieces {
        events.extend(reader.push(piece)?);
    }
    Ok(events)
}

/// "Interpreting an event stream" to the letter, for a stream that is all there.
fn standard(stream: &[u8]) -> Vec<Event> {
    let text = String::from_utf8_lossy(stream);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut events, mut data, mut kind, mut id) = (Vec::new(), String::new(), "", "");
    let Some((lines, _)) = text.rsplit_once('\n') else {
        return events;
    };
    for line in lines.split('\n') {
        let (field, value) = match line.split_once(':') {
            Some((field, value)) => (field, value.strip_prefix(' ').unwrap_or(value)),
            None => (line, ""),
        };
        match field {
            "" if line.is_empty() => {
                if let Some(data) = data.strip_suffix('\n') {
                    let (kind, data, id) = (kind.to_owned(), data.to_owned(), id.to_owned());
                    events.push(Event { kind, data, id });
                }
                (data, kind) = (String::new(), "");
            }
            "event" => kind = value,
            "data" => {
                data.push_str(value);
                data.push('\n');
            }
            "id" if !value.contains('\0') => id = value,
            _ => {}
        }
    }
    events
}
