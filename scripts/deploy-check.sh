#!/usr/bin/env bash
# Checks deploy/: alerts and their tests, the runbook, dashboards, names of metrics, the unit, the
# chart, the compose files. What needs a tool that is not installed is skipped, and the last lines
# say so. With CI=true that is a failure.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
missing=()
# Whether a tool is there: `have TOOL WHAT WHERE-FROM`.
have() {
    command -v "$1" >/dev/null && return
    missing+=("$2: $1 is not installed ($3)")
    return 1
}

rules=deploy/prometheus/claimgate.rules.yml
dashboards=(deploy/grafana/dashboards/*.json)

# Every series there is. docs/metrics.md has all metrics, which a unit test holds against the code.
awk -F '[`|, ]+' '/^\| `(claimgate|process)_/ {
    if ($3 == "histogram") { print $2 "_bucket"; print $2 "_sum"; print $2 "_count" } else print $2
}' docs/metrics.md >"$work/series"
# Two of kafka_exporter, and what Prometheus makes itself.
printf '%s\n' kafka_consumergroup_lag kafka_consumergroup_current_offset ALERTS >>"$work/series"
# Says which of the names on standard input are not in a file, and fails then.
known() {
    local unknown
    unknown=$(sort -u | grep -vxFf "$2" || true)
    [ -z "$unknown" ] || die "$1: no such metric in docs/metrics.md: ${unknown//$'\n'/, }"
}
# Names in a file, without those in comments of YAML.
named() { sed 's/^ *#[^#].*//' "$1" | grep -oE '\b(claimgate|kafka|process)_[a-z_]+'; }
for file in "$rules" "${rules%.yml}.test.yml"; do
    named "$file" | known "$file" "$work/series"
done
{
    cat "$work/series"
    sed -n 's/_bucket$//p' "$work/series"
    echo kafka_exporter # A program.
} >"$work/names"
named docs/runbook.md | known docs/runbook.md "$work/names"

# Each alert has an entry in the runbook, and each entry an alert.
grep -oE '^ +- alert: \w+' "$rules" | awk '{ print $3 }' | sort >"$work/alerts"
grep -oE '^## Claimgate\w+' docs/runbook.md | cut -c 4- | sort >"$work/entries"
diff "$work/alerts" "$work/entries" >&2 || die "docs/runbook.md and $rules differ (<: no entry;" \
    ">: no alert)"
while read -r alert; do
    grep -qF "runbook_url: docs/runbook.md#${alert,,}" "$rules" || die "$rules: $alert has no" \
        "runbook_url"
done <"$work/alerts"

if have jq "dashboards" "apt-get install jq"; then
    # Every query, variables filled in.
    jq -r '.. | objects | .expr // .definition // empty' "${dashboards[@]}" |
        sed -E 's/^label_values\((.*), *[a-z_]+\)$/\1/; s/\$__rate_interval/5m/g' >"$work/queries"
    # What looks like a metric's name: a word with an underscore, or ALERTS, outside of quotation
    # marks and of by (…), that is no function and no label.
    sed -E 's/"[^"]*"//g; s/\bby *\([^)]*\)//g' "$work/queries" |
        grep -oE '(\w+_\w+|ALERTS)\b *[(=!]?' | grep -vE '[(=!]' | tr -d ' ' |
        known "${dashboards[*]}" "$work/series"
    jq -R '{record: "query", expr: ., labels: {line: "\(input_line_number)"}}' "$work/queries" |
        jq -s '{groups: [{name: "dashboards", rules: .}]}' >"$work/dashboards.yml"
fi

if have promtool "alerts and their tests, queries" "github.com/prometheus/prometheus/releases"; then
    promtool check rules --lint-fatal "$rules" "$work/dashboards.yml"
    promtool test rules "${rules%.yml}.test.yml"
    cp "$rules" deploy/compose/prometheus.yml "$work"
    promtool check config "$work/prometheus.yml"
fi

if have systemd-analyze "the unit" "apt-get install systemd"; then
    # It is not installed here: verify would miss the binary.
    sed 's:/usr/local/bin/claimgate:/bin/true:' deploy/systemd/claimgate.service >"$work/claimgate.service"
    # What it does not understand is a warning to it, with exit code 0.
    said=$(systemd-analyze verify "$work/claimgate.service" 2>&1) && [ -z "$said" ] || die "$said"
    systemd-analyze security --offline=true --threshold=20 --no-pager "$work/claimgate.service" | tail -n 1
fi

# With its defaults, and with everything on. KUBECONFORM_SCHEMAS is where the schemas are, if not on
# the Internet: kubeconform's -schema-location.
chart=deploy/helm/claimgate
if have helm "the chart" "helm.sh/docs/intro/install"; then
    for values in "$chart/values.yaml" "$chart/ci/full-values.yaml"; do
        {
            helm lint --strict --values "$values" "$chart"
            helm template --kube-version 1.31.0 --values "$values" claimgate "$chart" >"$work/$(basename "$values")"
        } 2> >(grep -v 'found symbolic link' >&2)
    done
    if have kubeconform "the chart's manifests" "github.com/yannh/kubeconform/releases"; then
        # Kubernetes has no schemas of these three; one that is missing is a failure.
        kubeconform -strict -summary -kubernetes-version 1.31.0 \
            -skip PrometheusRule,ServiceMonitor,ScaledObject \
            -schema-location "${KUBECONFORM_SCHEMAS:-default}" "$work"/{,full-}values.yaml
    fi
fi

# `docker compose config` needs no engine. The plugin may stand alone as docker-compose.
compose=(docker compose)
docker compose version >/dev/null 2>&1 || compose=(docker-compose)
if have "${compose[0]}" "the compose files" "docs.docker.com/compose/install"; then
    "${compose[@]}" -f docker-compose.yml -f deploy/compose/observability.yml config --quiet
fi

for line in "${missing[@]}"; do say "NOT CHECKED: $line"; done
[ ${#missing[@]} -eq 0 ] || [ "${CI:-}" != true ] || die "CI=true," \
    "so what was not checked is a failure"
