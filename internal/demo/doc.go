// Package demo is a small world to look at: three nodes as network namespaces,
// each with its own kernel conntrack, pods in namespaces of their own behind
// them, Services by NAT, a fabric between the nodes and an outside, with real
// traffic of many shapes and Weir's own binaries watching it.
//
// In: the Kubernetes YAML in manifests/, from which the world is built and by
// which the agents name what they see. Out: a running world, a live stream of
// flows, 45 s later an incident (a rollout on a wrong port, a tightened policy, a
// link that loses packets) with the commands that show it, and at the end a table of
// what was made and what arrived, before the incident and after it.
//
// It replaces nothing: no container runs, nothing is pulled, and no rule or
// sysctl of the machine's own network namespace changes; one link, weir-demo0,
// joins it to the world. Every namespace, link, process and file carries the mark
// weir-demo, by which `weirctl demo down` finds all of them without memory: if
// the demo dies, that command (or the next `up`) clears what it left.
package demo

// The marks by which a successor knows what is the demo's.
const (
	prefix   = "weir-demo-"     // of network namespaces
	hostLink = "weir-demo0"     // the link in the machine's own namespace
	markEnv  = "WEIR_DEMO=1"    // in the environment of every process
	runDir   = "/run/weir-demo" // certificates, manifests, logs, counts
)
