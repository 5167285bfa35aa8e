//! Writes header blocks: whole static entries, names of static entries, literals; each string in the
//! shorter of its two forms. Nothing goes into the dynamic table, ever.

use super::table::STATIC;
use super::{huffman, integer};

/// The size update that turns the dynamic table off: due once, before the first block after a peer
/// allowed less than the default (RFC 7541, section 4.2).
pub(crate) const TABLE_OFF: u8 = 0x20;

/// Writes one field; the name is written in lower case, as HTTP/2 demands.
pub(crate) fn encode_field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let mut named = None;
    for (at, entry) in STATIC.iter().enumerate() {
        if entry.0.len() == name.len() && entry.0.as_bytes().eq_ignore_ascii_case(name) {
            if entry.1.as_bytes() == value {
                integer::encode(at + 1, 0x80, 7, out);
                return;
            }
            named.get_or_insert(at + 1);
        }
    }
    match named {
        Some(index) => integer::encode(index, 0, 4, out),
        None => {
            out.push(0);
            encode_text(&name.to_ascii_lowercase(), out);
        }
    }
    encode_text(value, out);
}

/// Writes `:status`, without a search.
///
/// # Panics
/// Never; a status outside 100 to 999 is the caller's mistake and is found in debug builds.
pub(crate) fn encode_status(status: u16, out: &mut Vec<u8>) {
    debug_assert!((100..=999).contains(&status), "{status}");
    let whole = match status {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => {
            integer::encode(8, 0, 4, out);
            let digit = |at: u16| b'0' + (status / at % 10) as u8;
            encode_text(&[digit(100), digit(10), digit(1)], out);
            return;
        }
    };
    out.push(0x80 | whole);
}

fn encode_text(text: &[u8], out: &mut Vec<u8>) {
    let encoded = huffman::encoded_bytes(text);
    if encoded < text.len() {
        integer::encode(encoded, 0x80, 7, out);
        huffman::encode(text, out);
    } else {
        integer::encode(text.len(), 0, 7, out);
        out.extend_from_slice(text);
    }
}
