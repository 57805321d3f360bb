package main

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// secure is the security context of both containers; add lists the capabilities
// that are given back after all were taken.
func secure(add ...corev1.Capability) *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: add},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

func requests(cpu, memory, limit string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(limit)},
	}
}

func probe(path, host string, port int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Host: host, Port: intstr.FromInt32(port)}},
		PeriodSeconds: 10, TimeoutSeconds: 3,
	}
}

func mount(name, path string) corev1.VolumeMount {
	return corev1.VolumeMount{Name: name, MountPath: path, ReadOnly: true}
}

func configFile(name string) corev1.Volume {
	return corev1.Volume{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
		LocalObjectReference: corev1.LocalObjectReference{Name: name},
	}}}
}

func secret(volume, name string) corev1.Volume {
	return corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
		SecretName: name, DefaultMode: new(int32(0o440)),
	}}}
}

func (p params) agentPod() corev1.PodSpec {
	spec := p.plainAgentPod()
	p.grant(&spec)
	return spec
}

func (p params) plainAgentPod() corev1.PodSpec {
	return corev1.PodSpec{
		ServiceAccountName: agent, AutomountServiceAccountToken: new(true),
		HostNetwork: true, DNSPolicy: corev1.DNSClusterFirstWithHostNet,
		PriorityClassName:             "system-node-critical",
		TerminationGracePeriodSeconds: new(int64(25)),
		Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		NodeSelector:                  map[string]string{corev1.LabelOSStable: "linux"},
		Containers: []corev1.Container{{
			Name: agent, Image: p.Images + "/agent:" + p.Version,
			Args: []string{"--config=/etc/weir/config/agent.yaml", "--node-name=$(NODE_NAME)"},
			Env: []corev1.EnvVar{{Name: "NODE_NAME", ValueFrom: &corev1.EnvVarSource{
				FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "spec.nodeName"},
			}}},
			// Reading conntrack and hearing its events is NET_ADMIN in the node's
			// network namespace; what evidence needs, grant adds. Capabilities
			// of a container go to root only.
			SecurityContext: func() *corev1.SecurityContext {
				s := secure("NET_ADMIN")
				s.RunAsUser = new(int64(0))
				return s
			}(),
			Resources:      requests("50m", "64Mi", "1Gi"),
			LivenessProbe:  probe("/livez", "127.0.0.1", agentWatch),
			ReadinessProbe: probe("/readyz", "127.0.0.1", agentWatch),
			VolumeMounts:   []corev1.VolumeMount{mount("config", "/etc/weir/config"), mount("tls", "/etc/weir/tls")},
		}},
		Volumes: []corev1.Volume{configFile(agent), secret("tls", "weir-agent-tls")},
	}
}

func (p params) aggregatorPod() corev1.PodSpec {
	return corev1.PodSpec{
		ServiceAccountName: aggregator, AutomountServiceAccountToken: new(true), EnableServiceLinks: new(false),
		TerminationGracePeriodSeconds: new(int64(45)),
		NodeSelector:                  map[string]string{corev1.LabelOSStable: "linux"},
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), RunAsUser: new(int64(nobody)), RunAsGroup: new(int64(nobody)), FSGroup: new(int64(nobody)),
			FSGroupChangePolicy: new(corev1.FSGroupChangeOnRootMismatch),
			SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
			MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway,
			LabelSelector: &metav1.LabelSelector{MatchLabels: selector(aggregator)},
		}},
		Containers: []corev1.Container{{
			Name: aggregator, Image: p.Images + "/aggregator:" + p.Version,
			Args: []string{"--config=/etc/weir/config/aggregator.yaml"},
			Ports: []corev1.ContainerPort{
				{Name: "ipfix", ContainerPort: ipfixPort, Protocol: corev1.ProtocolTCP},
				{Name: "api", ContainerPort: apiPort, Protocol: corev1.ProtocolTCP},
				{Name: "metrics", ContainerPort: aggrWatch, Protocol: corev1.ProtocolTCP},
			},
			SecurityContext: secure(),
			Resources:       requests("200m", "512Mi", "4Gi"),
			LivenessProbe:   probe("/livez", "", aggrWatch),
			ReadinessProbe:  probe("/readyz", "", aggrWatch),
			VolumeMounts: []corev1.VolumeMount{
				mount("config", "/etc/weir/config"), mount("tls", "/etc/weir/tls"), mount("api", "/etc/weir/api"),
				{Name: "data", MountPath: "/var/lib/weir"},
			},
		}},
		Volumes: []corev1.Volume{configFile(aggregator), secret("tls", "weir-aggregator-tls"), secret("api", "weir-api-token")},
	}
}

func (p params) service() any {
	return corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: p.meta(aggregator),
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone, Selector: selector(aggregator),
			Ports: []corev1.ServicePort{
				{Name: "ipfix", Port: ipfixPort, TargetPort: intstr.FromString("ipfix"), Protocol: corev1.ProtocolTCP},
				{Name: "api", Port: apiPort, TargetPort: intstr.FromString("api"), Protocol: corev1.ProtocolTCP},
				{Name: "metrics", Port: aggrWatch, TargetPort: intstr.FromString("metrics"), Protocol: corev1.ProtocolTCP},
			},
		},
	}
}
