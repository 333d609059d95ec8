//! The addresses of workers: this file parses them and connects to nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The base URL of a worker from an address that a person gave: with or without scheme, slash or
/// path of the metrics.
pub(super) fn named(url: &str) -> String {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix("/metrics").unwrap_or(url).trim_end_matches('/');
    if url.contains("://") { url.to_owned() } else { format!("http://{url}") }
}

/// The base URL of the worker that has this `http.listen` on this machine.
///
/// # Errors
/// It does not listen, or its port is not known.
pub(super) fn of_listener(listen: &str) -> Result<String, String> {
    let say = "say where the worker listens: claimgate status --url http://HOST:PORT";
    if listen.is_empty() {
        return Err(format!(
            "http.listen is empty, so the worker cannot be asked; if it can, {say}"
        ));
    }
    let Ok(address) = listen.parse::<SocketAddr>() else { return Ok(named(listen)) };
    if address.port() == 0 {
        return Err(format!("http.listen takes any free port; {say}"));
    }
    let ip = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(format!("http://{}", SocketAddr::new(ip, address.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_named_as_people_write_it() {
        for url in
            ["a:9464", "http://a:9464", "http://a:9464/", "http://a:9464/metrics", "a:9464//"]
        {
            assert_eq!(named(url), "http://a:9464", "{url}");
        }
        assert_eq!(named("https://a/worker/"), "https://a/worker");
    }

    #[test]
    fn a_listener_on_every_address_is_asked_on_this_machine() {
        let url = |listen: &str| of_listener(listen).expect(listen);
        assert_eq!(url("127.0.0.1:9464"), "http://127.0.0.1:9464");
        assert_eq!(url("0.0.0.0:9464"), "http://127.0.0.1:9464");
        assert_eq!(url("[::]:9464"), "http://[::1]:9464");
        assert_eq!(url("localhost:9464"), "http://localhost:9464");
        for (listen, words) in [("", "http.listen is empty"), ("127.0.0.1:0", "any free port")] {
            let error = of_listener(listen).expect_err(listen);
            assert!(error.contains(words) && error.contains("--url"), "{error}");
        }
    }
}
