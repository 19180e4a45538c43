//! The API of a microVM: bytes of HTTP, bodies of every route, and the configuration file.
#![no_main]

use hull_vm_api::http::{Event, Parser};
use hull_vm_api::request::{Method, ROUTES};
use hull_vm_api::{Builder, Request, VmConfig};

const LIMIT: usize = 51_200;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    let mut builder = Builder::new("fuzz", "0.0.0", LIMIT);
    match kind % 3 {
        0 => http(&mut builder, data),
        1 => bodies(&mut builder, data),
        _ => {
            let _ = VmConfig::parse(data);
        }
    }
});

/// A connection whose bytes come in pieces of a size that the first byte says.
fn http(builder: &mut Builder, data: &[u8]) {
    let Some((piece, data)) = data.split_first() else {
        return;
    };
    let mut parser = Parser::new(8192, LIMIT);
    for piece in data.chunks(usize::from(*piece).max(1)) {
        parser.feed(piece);
        loop {
            match parser.next_event() {
                Event::Request(request) => {
                    if let Some(method) = Method::named(&request.method) {
                        ask(builder, method, &request.path, &request.body);
                    }
                }
                Event::Continue => {}
                Event::Incomplete => break,
                Event::Fault(_) => return,
            }
        }
    }
}

/// Requests one after the other: the number of a route, and a body up to a NUL, which JSON has none of.
fn bodies(builder: &mut Builder, data: &[u8]) {
    for part in data.split(|byte| *byte == 0) {
        let Some((number, body)) = part.split_first() else {
            continue;
        };
        let route = &ROUTES[usize::from(*number) % ROUTES.len()];
        let path: Vec<&str> = route
            .path
            .split('/')
            .map(|name| if name.starts_with('{') { "x" } else { name })
            .collect();
        ask(builder, route.method, &path.join("/"), body);
    }
}

fn ask(builder: &mut Builder, method: Method, path: &str, body: &[u8]) {
    if let Ok(parsed) = Request::parse(method, path, body) {
        let _ = builder.apply(&parsed.request);
    }
}
