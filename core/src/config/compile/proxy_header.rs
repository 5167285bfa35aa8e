//! Compiles `proxy_protocol` of listeners and clusters.

use super::super::problem::Problems;
use super::super::read::At;
use super::super::schema::{self, HeaderMode, HeaderValue};
use super::super::snapshot::{AcceptHeader, Address, SendHeader, SendValues};
use crate::proxy_protocol::Version;

/// Whether and of whom a listener takes a header.
pub(super) fn accept(section: &schema::Listener, problems: &mut Problems) -> Option<AcceptHeader> {
    let written = section.proxy_protocol.as_ref()?;
    let (mode, own) = match &written.value {
        schema::AcceptHeader::Mode(mode) => (Some(*mode), None),
        schema::AcceptHeader::Table(table) => {
            (table.mode.as_ref().map(|mode| mode.value), table.trusted.as_ref())
        }
    };
    let required = match mode? {
        HeaderMode::Off => return None,
        HeaderMode::Optional => false,
        HeaderMode::Require => true,
    };
    let list = own.or(section.forwarding.trusted_proxies.as_ref());
    if let Some(own) = own
        && own.value.is_empty()
        && !own.damaged
    {
        problems
            .error(own.span.clone(), "`trusted` is empty: nobody could send a header")
            .suggest("list the load balancers that stand in front, such as `trusted = [\"10.0.0.0/8\"]`");
    }
    let unix = section.address.as_ref().is_some_and(|address| matches!(address.value, Address::Unix(_)));
    if !required && !unix && list.is_none_or(|list| list.value.is_empty() && !list.damaged) {
        problems
            .error(written.span.clone(), "an optional PROXY header needs to know whom to believe")
            .label("any client could say that it is another one")
            .suggest("list the load balancers that stand in front: `proxy_protocol = { mode = \"optional\", trusted = [\"10.0.0.0/8\"] }`");
    }
    let trusted = list.map(|list| list.value.iter().map(|net| net.value.0).collect());
    Some(AcceptHeader { required, trusted })
}

/// Which header a cluster's endpoints get.
pub(super) fn send(section: Option<&At<schema::SendHeader>>, problems: &mut Problems) -> Option<SendHeader> {
    let mut values = SendValues { authority: true, alpn: true, tls: true, ..SendValues::default() };
    let version = match &section?.value {
        schema::SendHeader::Version(version) => *version,
        schema::SendHeader::Table(table) => {
            let version = table.version.as_ref()?.value;
            // A default stands where the table does.
            let written = table.values.value.iter().find(|value| !value.span.is_empty());
            if let Some(first) = written.filter(|_| version == Version::V1) {
                problems
                    .error(first.span.clone(), "a header of version 1 has no values")
                    .suggest("write `version = \"v2\"`, or leave `values` out");
            }
            values = SendValues::default();
            for value in &table.values.value {
                match value.value {
                    HeaderValue::Authority => values.authority = true,
                    HeaderValue::Alpn => values.alpn = true,
                    HeaderValue::Tls => values.tls = true,
                    HeaderValue::UniqueId => values.unique_id = true,
                    HeaderValue::Crc32c => values.crc32c = true,
                }
            }
            version
        }
    };
    if version == Version::V1 {
        values = SendValues::default();
    }
    Some(SendHeader { version, values })
}
