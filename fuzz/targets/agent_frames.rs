//! The frames of an agent as a hostile guest sends them, and those of an engine.
#![no_main]

use hull_agent_protocol::{Changes, EngineEnd, Event, FileStat, FromAgent, ToAgent, decode};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = decode::<ToAgent>(data);
    let _ = decode::<FromAgent>(data);
    let _ = FileStat::decode(data);
    let _ = Changes::default().received(data);
    let Some((piece, data)) = data.split_first() else {
        return;
    };
    let mut end = EngineEnd::new();
    for piece in data.chunks(usize::from(*piece).max(1)) {
        end.received(piece);
        loop {
            match end.event() {
                Ok(Some(Event::Output(stream, bytes))) => {
                    let count = bytes.len();
                    end.consumed(stream, count);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        let count = end.outgoing().len();
        end.sent(count);
    }
});
