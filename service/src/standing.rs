//! How the service stands, in the line that `systemctl status` shows.

use common::report::Report;
use common::settings::ObservedCertificate;
use jiff::Zoned;

/// `3 of 3 certificates, next poll 14:05`: the time on this machine's clock, with the day where it is another one.
pub(crate) fn line(certificates: &[ObservedCertificate], reports: &[Report], next_poll: &Zoned, now: &Zoned) -> String {
    let satisfied = reports.iter().filter(|report| report.is_satisfied(now.timestamp())).count();
    let mut failing = certificates.iter().zip(reports).filter(|(_, report)| report.problem().is_some());
    let failing = match (failing.next(), failing.count()) {
        (None, _) => String::new(),
        (Some((first, _)), 0) => format!(", failing: {}", first.link_name()),
        (Some((first, _)), others) => format!(", failing: {} and {others} more", first.link_name()),
    };
    let format = if next_poll.date() == now.date() { "%H:%M" } else { "%Y-%m-%d %H:%M" };
    format!("{satisfied} of {} certificates{failing}, next poll {}", reports.len(), next_poll.strftime(format))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use common::report::{Problem, State};
    use common::settings::{Clouds, Settings};
    use jiff::ToSpan;
    use jiff::civil::date;
    use jiff::tz::TimeZone;

    #[test]
    fn names_what_fails_and_the_time_of_the_next_poll() {
        let settings = br#"{"secretsManagementSettings": {"observedCertificates": [
            "https://contoso.vault.azure.net/secrets/a", "https://contoso.vault.azure.net/secrets/b"]}}"#;
        let settings = Settings::parse(settings, &Clouds::built_in()).unwrap();
        let now = date(2026, 11, 26).at(22, 30, 0, 0).to_zoned(TimeZone::UTC).unwrap();
        let waiting = Report { state: State::Waiting, warnings: [].into() };
        let problem = Box::new(Problem { code: 30, message: "no".to_owned(), next_try: None });
        let missing = Report { state: State::Missing { problem }, warnings: [].into() };
        let line =
            |reports: [&Report; 2], next: &Zoned| line(&settings.certificates, &reports.map(Clone::clone), next, &now);
        let (soon, tomorrow) = (&now + 5.minutes(), &now + 2.hours());
        assert_eq!(line([&waiting, &waiting], &soon), "0 of 2 certificates, next poll 22:35");
        assert_eq!(
            line([&waiting, &missing], &tomorrow),
            "0 of 2 certificates, failing: contoso.b, next poll 2026-11-27 00:30"
        );
        assert_eq!(
            line([&missing, &missing], &soon),
            "0 of 2 certificates, failing: contoso.a and 1 more, next poll 22:35"
        );
    }
}
