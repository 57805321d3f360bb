package clickhouse_test

import (
	"fmt"
	"testing"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/testenv"
)

// TestTheiaQueries asks what Theia's dashboards and scripts ask of a table of flows (bytes
// between pods, to Services, out of the cluster and between nodes, throughput over time,
// bytes by policy, a record's own fields), and compares with sums made here.
func TestTheiaQueries(t *testing.T) {
	srv := testenv.StartClickHouse(t)
	recs := samples(0, 400)
	sums := map[string]uint64{}
	for i := range recs {
		r := &recs[i]
		r.SetFlowType([]flow.FlowType{flow.FlowTypeIntraNode, flow.FlowTypeInterNode, flow.FlowTypeToExternal}[i%3])
		r.SetIngressAction([]flow.RuleAction{flow.RuleActionAllow, flow.RuleActionDrop}[i%2])
		r.SetThroughput(uint64(i) * 8)
		if i%3 < 2 {
			sums["pods"] += r.BytesDelta
			sums["back"] += r.RevBytesDelta
			if r.SrcNode == recs[0].SrcNode {
				sums["node"] += r.BytesDelta
			}
		} else {
			sums["external"] += r.BytesDelta
		}
		if r.SvcPortName != "" {
			sums["service"] += r.BytesDelta
		}
		if i%2 == 1 {
			sums["denied"] += r.BytesDelta
		}
		sums["throughput"] += r.Throughput
	}
	if err := newSink(t, config(srv.Addr), "a").WriteAt(t.Context(), 0, recs); err != nil {
		t.Fatal(err)
	}
	from, to := recs[0].End/1000-1, recs[len(recs)-1].End/1000+1
	within := fmt.Sprintf("flowEndSeconds >= toDateTime(%d) AND flowEndSeconds <= toDateTime(%d)", from, to)
	conn := client(t, srv.Addr)
	for name, sql := range map[string]string{
		"pods":       "SELECT sum(bytes) FROM (SELECT SUM(octetDeltaCount) AS bytes, concat(sourcePodNamespace, '/', sourcePodName) AS source, concat(destinationPodNamespace, '/', destinationPodName) AS destination FROM weir.flows WHERE flowType IN (1, 2) AND " + within + " GROUP BY source, destination ORDER BY bytes DESC)",
		"back":       "SELECT sum(bytes) FROM (SELECT SUM(reverseOctetDeltaCount) AS bytes, sourcePodName, destinationPodName FROM weir.flows WHERE flowType IN (1, 2) AND " + within + " GROUP BY sourcePodName, destinationPodName)",
		"service":    "SELECT sum(bytes) FROM (SELECT SUM(octetDeltaCount) AS bytes, sourcePodName, destinationServicePortName FROM weir.flows WHERE destinationServicePortName != '' AND " + within + " GROUP BY sourcePodName, destinationServicePortName)",
		"external":   "SELECT sum(bytes) FROM (SELECT SUM(octetDeltaCount) AS bytes, sourcePodName, destinationIP FROM weir.flows WHERE flowType = 3 AND " + within + " GROUP BY sourcePodName, destinationIP)",
		"node":       "SELECT sum(bytes) FROM (SELECT SUM(octetDeltaCount) AS bytes, sourceNodeName, destinationNodeName FROM weir.flows WHERE flowType IN (1, 2) AND sourceNodeName = '" + recs[0].SrcNode + "' AND " + within + " GROUP BY sourceNodeName, destinationNodeName)",
		"denied":     "SELECT SUM(octetDeltaCount) FROM weir.flows WHERE (ingressNetworkPolicyRuleAction IN (2, 3) OR egressNetworkPolicyRuleAction IN (2, 3)) AND " + within,
		"throughput": "SELECT toUInt64(sum(t)) FROM (SELECT toStartOfMinute(flowEndSeconds) AS time, SUM(throughput) AS t FROM weir.flows WHERE " + within + " GROUP BY time ORDER BY time)",
	} {
		if sums[name] == 0 {
			t.Errorf("%s: there is nothing to add up: this proves nothing", name)
		}
		if got := number(t, conn, sql); got != sums[name] {
			t.Errorf("%s: %d, want %d\n%s", name, got, sums[name], sql)
		}
	}
	if n := number(t, conn, "SELECT count() FROM (SELECT flowStartSeconds, flowEndSeconds, sourceTransportPort, destinationTransportPort, protocolIdentifier, tcpState, sourcePodLabels, trusted, timeInserted, clusterUUID FROM weir.flows WHERE timeInserted >= toDateTime(0))"); n != 400 {
		t.Errorf("%d records, want 400", n)
	}
}
