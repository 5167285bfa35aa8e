//! As much of an OCSP response (RFC 6960 section 4.2.1) as says whether it can still be stapled.
//!
//! Not here: whether it is genuine and about the right certificate; clients verify that.

use x509_parser::asn1_rs::{Any, FromDer, GeneralizedTime, OctetString, Oid, Tag};

/// A parsed element and what follows it.
type Element<'a> = (&'a [u8], Any<'a>);

/// Until when the first answer of the response holds, in seconds of Unix time; `None` when it does not say.
pub(super) fn next_update(response: &[u8]) -> Result<Option<i64>, &'static str> {
    let (rest, outer) = element(response)?;
    if !rest.is_empty() || outer.tag() != Tag::Sequence {
        return Err("it is not DER");
    }
    let (rest, status) = element(outer.data)?;
    if status.tag() != Tag::Enumerated || status.data != [0] {
        return Err("the responder has refused to answer");
    }
    // responseBytes [0] EXPLICIT SEQUENCE { type OID, response OCTET STRING }
    let (_, bytes) = element(rest)?;
    let (_, bytes) = element(bytes.data)?;
    let (rest, _) = Oid::from_der(bytes.data).map_err(|_| "it is not DER")?;
    let (_, basic) = OctetString::from_der(rest).map_err(|_| "it is not DER")?;
    let (_, basic) = element(basic.as_cow())?;
    let (_, data) = element(basic.data)?;
    // ResponseData: version [0] and responderID [1] or [2] are tagged, then producedAt, then responses.
    let mut rest = data.data;
    let single = loop {
        let (after, next) = element(rest)?;
        if next.tag() == Tag::Sequence {
            break element(next.data)?.1;
        }
        rest = after;
    };
    // SingleResponse: certID, certStatus, thisUpdate, nextUpdate [0] EXPLICIT.
    let (rest, _) = element(single.data)?;
    let (rest, _) = element(rest)?;
    let (rest, _) = time(rest)?;
    if rest.is_empty() {
        return Ok(None);
    }
    let (_, next) = element(rest)?;
    if next.tag() != Tag(0) {
        return Ok(None);
    }
    Ok(Some(time(next.data)?.1))
}

fn element(bytes: &[u8]) -> Result<Element<'_>, &'static str> {
    Any::from_der(bytes).map_err(|_| "it is not DER")
}

fn time(bytes: &[u8]) -> Result<(&[u8], i64), &'static str> {
    let (rest, time) = GeneralizedTime::from_der(bytes).map_err(|_| "it has a bad date")?;
    let time = time.utc_datetime().map_err(|_| "it has a bad date")?;
    Ok((rest, time.unix_timestamp()))
}
