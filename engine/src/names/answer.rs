//! What becomes of a question. Pure, and of hostile bytes.

use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::book::View;

/// The header, in bytes (RFC 1035, section 4.1.1).
const HEADER: usize = 12;
/// How long an answer holds, in seconds. Containers come and go.
const TTL: u32 = 5;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// This is the answer.
    Reply(Vec<u8>),
    /// These servers know it.
    Forward(Vec<IpAddr>),
    /// It deserves none.
    Ignore,
}

/// Judges a question. An answer has at most `room` bytes.
pub(super) fn judge(question: &[u8], view: &View<'_>, room: usize) -> Verdict {
    let Some(counts) = counts(question) else {
        return Verdict::Ignore;
    };
    // One question and, at the end, EDNS and a signature at most: counts are believed by who reads them.
    if !matches!(counts, [1, 0, 0, 0..=2]) {
        return refused(question, ResponseCode::FormErr);
    }
    let message = match Message::from_vec(question) {
        Ok(message) => message,
        Err(_) => return refused(question, ResponseCode::FormErr),
    };
    if message.metadata.message_type == MessageType::Response {
        return Verdict::Ignore;
    }
    if message.metadata.op_code != OpCode::Query {
        return refused(question, ResponseCode::NotImp);
    }
    let Some(query) = message.queries.first() else {
        return refused(question, ResponseCode::FormErr);
    };
    let asked = query.name.to_lowercase();
    let text = asked.to_ascii();
    let text = text.trim_end_matches('.');
    let records = match (query.query_class, query.query_type) {
        (DNSClass::IN, RecordType::PTR) => reverse(&asked, &query.name, view),
        (DNSClass::IN, kind) => view
            .addresses(text)
            .map(|all| forward(&query.name, kind, &all, message.metadata.id)),
        _ => None,
    };
    match records {
        Some(records) => reply(&message, records, room),
        None if view.servers.is_empty() => refused(question, ResponseCode::ServFail),
        None => Verdict::Forward(view.servers.clone()),
    }
}

/// An answer that says why there is none.
pub(super) fn refused(question: &[u8], code: ResponseCode) -> Verdict {
    let [a, b, flags, ..] = question else {
        return Verdict::Ignore;
    };
    let code = u8::try_from(u16::from(code) & 15).unwrap_or(2);
    // Its number and opcode, the wish for recursion, and that there is recursion.
    let mut answer = vec![*a, *b, 0x80 | (flags & 0x79), 0x80 | code];
    answer.resize(HEADER, 0);
    // The question goes with it where it is plain.
    let rest = question.get(HEADER..).unwrap_or_default();
    if counts(question).is_some_and(|counts| counts[0] == 1)
        && let Some(question) = question_length(rest).and_then(|length| rest.get(..length))
    {
        answer[5] = 1;
        answer.extend_from_slice(question);
    }
    Verdict::Reply(answer)
}

/// How many bytes a question has whose name is not compressed.
fn question_length(rest: &[u8]) -> Option<usize> {
    let mut at = 0_usize;
    loop {
        let length = usize::from(*rest.get(at)?);
        at += 1;
        match length {
            0 => return Some(at + 4),
            1..=63 => at += length,
            _ => return None,
        }
        if at > 255 {
            return None;
        }
    }
}

/// How many records of each section a message says that it has.
fn counts(message: &[u8]) -> Option<[u16; 4]> {
    let header: &[u8; HEADER] = message.first_chunk()?;
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    Some([count(4), count(6), count(8), count(10)])
}

/// The addresses of the asked kind, another one first for each question.
fn forward(name: &Name, kind: RecordType, all: &[IpAddr], turn: u16) -> Vec<Record> {
    let data = |address: &IpAddr| match (address, kind) {
        (IpAddr::V4(address), RecordType::A | RecordType::ANY) => Some(RData::A(A(*address))),
        (IpAddr::V6(address), RecordType::AAAA | RecordType::ANY) => {
            Some(RData::AAAA(AAAA(*address)))
        }
        _ => None,
    };
    let mut data: Vec<RData> = all.iter().filter_map(data).collect();
    if !data.is_empty() {
        let turn = usize::from(turn) % data.len();
        data.rotate_left(turn);
    }
    data.into_iter()
        .map(|data| Record::from_rdata(name.clone(), TTL, data))
        .collect()
}

fn reverse(asked: &Name, name: &Name, view: &View<'_>) -> Option<Vec<Record>> {
    let net = asked.parse_arpa_name().ok()?;
    let found = view.name(net.addr())?;
    let target = Name::from_ascii(found).ok()?;
    let data = RData::PTR(PTR(target));
    Some(vec![Record::from_rdata(name.clone(), TTL, data)])
}

fn reply(message: &Message, records: Vec<Record>, room: usize) -> Verdict {
    let mut reply = Message::response(message.metadata.id, OpCode::Query);
    reply.metadata.recursion_desired = message.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.authoritative = true;
    reply.add_queries(message.queries.iter().cloned());
    reply.add_answers(records);
    let bytes = match reply.to_vec() {
        Ok(bytes) if bytes.len() <= room => Ok(bytes),
        // Whoever gets this asks again by TCP.
        _ => reply.truncate().to_vec(),
    };
    bytes.map_or(Verdict::Ignore, Verdict::Reply)
}

/// How many bytes an answer by UDP may have for whoever asks this.
pub(super) fn room(question: &[u8]) -> usize {
    /// What passes every network without fragments (DNS flag day 2020).
    const MOST: u16 = 1232;
    let is_plain = counts(question).is_some_and(|counts| matches!(counts, [1, 0, 0, 0..=2]));
    let payload = match is_plain {
        true => Message::from_vec(question).map_or(512, |message| message.max_payload()),
        false => 512,
    };
    payload.clamp(512, MOST).into()
}

#[cfg(test)]
mod tests;
