//! How long it takes from the API's answer to the commit on the remote, and what that costs, against the limits that were
//! set.
//!
//! ```text
//! this program: two users ──► API server ──► the command, a child ──► git over HTTP ──► a bare repository
//!               looks at refs/heads/main every millisecond ◄───────────────────────────────┘
//! ```
//! `cargo run --release -p reverser-tests --bin burst`. Exits with 1 only when a change is missing or doubled, or has the
//! wrong author.

mod landed;
mod scene;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use reverser_tests::benchmark::{Usage, percentile, run, say};
use tokio::time::{Instant, interval};

use self::{
    landed::{Made, Report},
    scene::{Authors, Bench},
};

/// Measures `reverser watch` on a control plane and an HTTP remote of its own. Zero leaves a part out.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// How many changes are made, one a second
    #[arg(long, default_value_t = 30)]
    changes: usize,
    /// How many ConfigMaps are created as fast as the API takes them: one burst for each number
    #[arg(long, default_values_t = [1_000, 10_000], value_delimiter = ',', num_args = 1..)]
    creates: Vec<usize>,
    /// How many updates are made as fast as the API takes them
    #[arg(long, default_value_t = 1_000)]
    updates: usize,
    /// Of how many objects
    #[arg(long, default_value_t = 50)]
    objects: usize,
    /// How many changes a second are made on top of all that is there then
    #[arg(long, default_value_t = 20)]
    rate: usize,
    /// For so many seconds
    #[arg(long, default_value_t = 60)]
    seconds: usize,
    /// Over how many namespaces the created objects are spread
    #[arg(long, default_value_t = 10)]
    namespaces: usize,
    /// What authors are named from
    #[arg(long, value_enum, default_value_t)]
    authors: Authors,
}

/// At one change a second, from the API's answer to the commit on the remote.
const MEDIAN_LIMIT: Duration = Duration::from_millis(150);
const P99_LIMIT: Duration = Duration::from_millis(500);

/// From the API's last answer of a burst to the last commit on the remote: up to 1,000 creates, and more.
const BURST_LIMIT: Duration = Duration::from_secs(2);
const LARGE_BURST_LIMIT: Duration = Duration::from_secs(5);

/// From the start with one change made meanwhile to its commit on the remote.
const RESTART_LIMIT: Duration = Duration::from_secs(2);

/// Resident memory of the command, and its own processor time for a change.
const MEMORY_LIMIT_MIB: f64 = 64.0;
const CPU_LIMIT: Duration = Duration::from_millis(1);

fn main() -> anyhow::Result<ExitCode> {
    run(measure)
}

async fn measure(args: Args) -> anyhow::Result<ExitCode> {
    let mut bench = Bench::start(args.namespaces.max(1), args.authors).await?;
    let mut all_right = true;
    if args.changes > 0 {
        all_right &= one_by_one(&mut bench, args.changes).await?;
    }
    for creates in args.creates.into_iter().filter(|creates| *creates > 0) {
        all_right &= burst(&mut bench, creates).await?;
    }
    if args.updates > 0 {
        all_right &= updates(&mut bench, args.updates, args.objects).await?;
    }
    if args.rate * args.seconds > 0 {
        all_right &= steady(&mut bench, args.rate, args.seconds).await?;
    }
    all_right &= restart(&mut bench).await?;
    bench.end().await?;
    Ok(if all_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Makes a change a second.
async fn one_by_one(bench: &mut Bench, changes: usize) -> anyhow::Result<bool> {
    let mut seconds = interval(Duration::from_secs(1));
    let mut made = Vec::new();
    for number in 0..changes {
        seconds.tick().await;
        made.push(bench.create(number, &format!("one-{number}")).await?);
    }
    let report = bench.landed(&made).await?;
    let (median, p99) = (report.percentile(50), report.percentile(99));
    say(&format!(
        "one change a second, {changes} changes: {report}; p50 / limit of {} ms: {:.2}, p99 / limit of {} ms: {:.2}",
        MEDIAN_LIMIT.as_millis(),
        median.div_duration_f64(MEDIAN_LIMIT),
        P99_LIMIT.as_millis(),
        p99.div_duration_f64(P99_LIMIT),
    ))?;
    Ok(report.is_right())
}

/// Creates as fast as the API takes it.
async fn burst(bench: &mut Bench, creates: usize) -> anyhow::Result<bool> {
    let (begun, before) = (Instant::now(), bench.usage());
    let batch = bench.batch();
    let made = bench
        .at_api_speed(creates, async |bench, number| bench.create(number, &format!("burst-{batch}-{number}")).await);
    let made = made.await?;
    bench.created(creates);
    let limit = if creates > 1_000 { LARGE_BURST_LIMIT } else { BURST_LIMIT };
    tell_burst(bench, &format!("{creates} creates"), &made, (begun, before), limit).await
}

/// Updates some objects over and over, as fast as the API takes it.
async fn updates(bench: &mut Bench, updates: usize, objects: usize) -> anyhow::Result<bool> {
    let batch = bench.batch();
    let name = |number: usize| format!("updated-{batch}-{}", number % objects);
    let made = bench.at_api_speed(objects, async |bench, number| bench.create(number, &name(number)).await).await?;
    bench.created(objects);
    bench.landed(&made).await?;
    let (begun, before) = (Instant::now(), bench.usage());
    let made = bench.at_api_speed(updates, async |bench, number| bench.update(number, objects, &name(number)).await);
    let made = made.await?;
    tell_burst(bench, &format!("{updates} updates of {objects} objects"), &made, (begun, before), BURST_LIMIT).await
}

async fn tell_burst(
    bench: &Bench,
    what: &str,
    made: &[Made],
    (begun, before): (Instant, Usage),
    limit: Duration,
) -> anyhow::Result<bool> {
    let answered = made.iter().map(|made| made.answered).max().unwrap_or(begun);
    let (report, closed) = (bench.landed(made).await?, bench.closed_watches().await?);
    let lag = report.last.map_or(reverser_tests::LIMIT, |last| last.saturating_duration_since(answered));
    let usage = bench.usage().since(&before);
    say(&format!(
        "{what} in {:.2} s, in {} namespace(s): on the remote {:.2} s after the last answer, {report}, {closed} \
         watches closed for slowness; lag / limit of {} s: {:.2}",
        (answered - begun).as_secs_f64(),
        bench.namespaces(),
        lag.as_secs_f64(),
        limit.as_secs(),
        lag.div_duration_f64(limit),
    ))?;
    tell_usage(&usage, made.len())?;
    Ok(report.is_right())
}

/// Makes so many changes a second, evenly, on top of what is there.
async fn steady(bench: &mut Bench, rate: usize, seconds: usize) -> anyhow::Result<bool> {
    let (batch, objects) = (bench.batch(), bench.objects());
    let before = bench.usage();
    let mut ticks = interval(Duration::from_secs(1).div_f64(rate as f64));
    let mut made = Vec::new();
    for number in 0..rate * seconds {
        ticks.tick().await;
        made.push(bench.create(number, &format!("steady-{batch}-{number}")).await?);
    }
    let report = bench.landed(&made).await?;
    let usage = bench.usage().since(&before);
    say(&format!("{rate} changes a second for {seconds} s on top of {objects} objects: {report}"))?;
    tell_usage(&usage, made.len())?;
    say(&format!(
        "  memory / limit of {MEMORY_LIMIT_MIB} MiB: {:.2}; own CPU a change / limit of {} ms: {:.2}",
        usage.resident_mib / MEMORY_LIMIT_MIB,
        CPU_LIMIT.as_millis(),
        (usage.own / u32::try_from(made.len())?).div_duration_f64(CPU_LIMIT),
    ))?;
    Ok(report.is_right())
}

/// Makes a change while nobody watches, and starts again.
async fn restart(bench: &mut Bench) -> anyhow::Result<bool> {
    let objects = bench.objects();
    bench.stop().await?;
    let made = bench.create(0, "while-away").await?;
    let started = Instant::now();
    bench.watch().await?;
    let report = bench.landed(&[made]).await?;
    let took = report.last.map_or(reverser_tests::LIMIT, |last| last.saturating_duration_since(started));
    say(&format!(
        "restart with {objects} objects and one change made meanwhile: on the remote {:.2} s after the start; time / limit of {} s: {:.2}",
        took.as_secs_f64(),
        RESTART_LIMIT.as_secs(),
        took.div_duration_f64(RESTART_LIMIT),
    ))?;
    Ok(report.is_right())
}

fn tell_usage(usage: &Usage, changes: usize) -> anyhow::Result<()> {
    let each = |time: Duration| time.as_secs_f64() * 1e3 / changes.max(1) as f64;
    say(&format!(
        "  the watcher: {:.2} ms CPU a change, its children (git) {:.2} ms; {:.0} MiB resident, {:.0} MiB at most since the start",
        each(usage.own),
        each(usage.children),
        usage.resident_mib,
        usage.peak_mib,
    ))
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let milliseconds = |percent| percentile(&self.took, percent).as_millis();
        write!(
            f,
            "p50 {} ms, p99 {} ms, {} missing, {} doubled, {} wrong and {} unknown authors",
            milliseconds(50),
            milliseconds(99),
            self.missing,
            self.doubled,
            self.wrong_authors,
            self.unknown_authors,
        )
    }
}
