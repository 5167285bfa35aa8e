//! What the demo starts: addresses and the proxy's configuration.

use std::net::SocketAddr;

use crate::Problem;
use crate::ports::Ports;

/// The name of the service.
pub(super) const SERVICE: &str = "my-service";

/// The header by which requests reach v2.
pub(super) const HEADER_NAME: &str = "end-user";

/// Its value.
pub(super) const HEADER_VALUE: &str = "jason";

/// Weights of v1 and v2 for everybody else.
pub(super) const WEIGHTS: (u32, u32) = (90, 10);

/// Where everything listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) web: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) v1: SocketAddr,
    pub(super) v2: SocketAddr,
}

impl Addresses {
    /// The usual ports where they are free, others where not.
    pub(super) fn pick() -> Result<Self, Problem> {
        let mut ports = Ports::default();
        Ok(Addresses {
            web: ports.pick(8080)?,
            admin: ports.pick(9901)?,
            v1: ports.pick(9001)?,
            v2: ports.pick(9002)?,
        })
    }
}

/// The proxy's configuration file.
pub(super) fn config(addresses: &Addresses) -> String {
    let Addresses { web, admin, v1, v2 } = addresses;
    let (heavy, light) = WEIGHTS;
    format!(
        r#"# Requests of {HEADER_VALUE} reach v2; of the others, {heavy} in {total} reach v1.

[proxy]
admin = "{admin}"
drain = "2s"

[[listeners]]
name = "web"
address = "{web}"

[[routes]]
headers = {{ {HEADER_NAME} = "{HEADER_VALUE}" }}
cluster = "{SERVICE}-v2"

[[routes]]
split = [{{ cluster = "{SERVICE}-v1", weight = {heavy} }}, {{ cluster = "{SERVICE}-v2", weight = {light} }}]
timeout = "2s"

[[clusters]]
name = "{SERVICE}-v1"
endpoints = ["{v1}"]

[[clusters]]
name = "{SERVICE}-v2"
endpoints = ["{v2}"]
"#,
        total = heavy + light,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_addresses_differ_and_are_in_the_configuration() {
        let addresses = Addresses::pick().unwrap();
        let text = config(&addresses);
        for address in [addresses.web, addresses.admin, addresses.v1, addresses.v2] {
            assert_eq!(text.matches(&format!("\"{address}\"")).count(), 1, "{text}");
        }
    }
}
