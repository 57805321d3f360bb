package main

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// evidence are the sources that need more than reading conntrack does, with what each
// needs. NFLOG needs NET_ADMIN, which every agent has, and prefixes that only you know.
var evidence = map[string]struct{ packets, namespaces bool }{
	"dns": {packets: true}, "icmp": {packets: true}, "resets": {packets: true}, "sockets": {namespaces: true},
}

// setEvidence reads the flag.
func (p *params) setEvidence(s string) error {
	p.Evidence = nil
	for e := range strings.SplitSeq(s, ",") {
		if e == "" {
			continue
		}
		if _, ok := evidence[e]; !ok {
			return fmt.Errorf("%q is no source of evidence: dns, icmp, resets, sockets", e)
		}
		p.Evidence = append(p.Evidence, e)
	}
	slices.Sort(p.Evidence)
	p.Evidence = slices.Compact(p.Evidence)
	return nil
}

// packets and namespaces give the sources that need either.
func (p params) packets() (list []string) {
	return slices.DeleteFunc(slices.Clone(p.Evidence), func(e string) bool { return !evidence[e].packets })
}

func (p params) namespaces() (list []string) {
	return slices.DeleteFunc(slices.Clone(p.Evidence), func(e string) bool { return !evidence[e].namespaces })
}

func (p params) file() string {
	if len(p.Evidence) == 0 {
		return "observe.yaml"
	}
	return "observe-evidence.yaml"
}

// rights explains, at the head of the file, what is given beyond the plain one.
func (p params) rights() string {
	if len(p.Evidence) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "#\n# Beyond observe.yaml the agents read %s, and may for that:\n", strings.Join(p.Evidence, ", "))
	if l := p.packets(); len(l) > 0 {
		fmt.Fprintf(&b, "#   NET_RAW     %s: a packet socket with a filter in the node's network namespace\n", strings.Join(l, ", "))
	}
	if l := p.namespaces(); len(l) > 0 {
		s := strings.Join(l, ", ")
		fmt.Fprintf(&b, "#   SYS_ADMIN   %s: setns(2) into the pods' network namespaces, to ask each for its sockets\n", s)
		fmt.Fprintf(&b, "#   /run/netns  %s: those namespaces, as containerd and CRI-O name them; mounted read only\n", s)
		b.WriteString("# Neither the host's process ids nor SYS_PTRACE: docs/operator.md says when they are needed.\n")
	}
	return b.String()
}

// grant adds to an agent's pod what its evidence needs.
func (p params) grant(spec *corev1.PodSpec) {
	c := &spec.Containers[0]
	caps := c.SecurityContext.Capabilities
	if len(p.packets()) > 0 {
		caps.Add = append(caps.Add, "NET_RAW")
	}
	if len(p.namespaces()) > 0 {
		caps.Add = append(caps.Add, "SYS_ADMIN")
		m := mount("netns", "/run/netns")
		// Namespaces of later pods are mounts that are made later.
		m.MountPropagation = new(corev1.MountPropagationHostToContainer)
		c.VolumeMounts = append(c.VolumeMounts, m)
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: "netns", VolumeSource: corev1.VolumeSource{
			HostPath: &corev1.HostPathVolumeSource{Path: "/run/netns", Type: new(corev1.HostPathDirectoryOrCreate)},
		}})
	}
}
