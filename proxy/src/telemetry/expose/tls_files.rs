//! Files of TLS in the exposition: when certificates expire, how following the files went.

use pinion_core::telemetry::names;

use super::Page;
use crate::tls::store::Report;

/// Writes the families of listeners' and clusters' TLS; nothing where there is none.
pub(super) fn tls_files(page: &mut Page, parts: &[Report]) {
    if parts.is_empty() {
        return;
    }
    let family = &names::TLS_CERTIFICATE_EXPIRY;
    page.head(family);
    for part in parts {
        for expiry in &part.expiries {
            let file = expiry.path.to_string_lossy();
            page.sample(family, &[part.kind, &part.name, &file], expiry.not_after);
        }
    }
    let family = &names::TLS_RELOADS;
    page.head(family);
    for part in parts {
        page.sample(family, &[part.kind, &part.name, "success"], part.successes);
        page.sample(family, &[part.kind, &part.name, "failure"], part.failures);
    }
    let family = &names::TLS_LAST_RELOAD_SUCCESSFUL;
    page.head(family);
    for part in parts {
        page.sample(family, &[part.kind, &part.name], u64::from(part.is_current));
    }
    let family = &names::LISTENER_TLS_HANDSHAKES_ACTIVE;
    page.head(family);
    for part in parts.iter().filter(|part| part.kind == "listener") {
        page.sample(family, &[&part.name], part.handshakes);
    }
}
