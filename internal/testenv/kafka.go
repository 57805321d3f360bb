package testenv

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Kafka is a real broker (KRaft, one node) in a process of its own.
type Kafka struct {
	process
	Plain string // listener without TLS and without users
	SSL   string // listener that asks for a certificate of CA
	SASL  string // listener with TLS and users (PLAIN, SCRAM)
	CA    *CA
	Dir   string

	User, Password string
}

// StartKafka starts one over an empty directory and ends it with the test. Properties
// are lines of server.properties.
func StartKafka(t testing.TB, properties ...string) *Kafka {
	t.Helper()
	return StartKafkaBehind(t, nil, properties...)
}

// StartKafkaBehind starts one that has a listener more, behind front: who asks there for
// brokers gets front's address.
func StartKafkaBehind(t testing.TB, front *Front, properties ...string) *Kafka {
	t.Helper()
	NeedTool(t, "java")
	k := &Kafka{process: process{name: "Kafka"}, Dir: t.TempDir(), CA: NewCA(t), User: "weir", Password: "weir-secret"}
	libs := Cache(t, "Kafka's broker", "kafka", "libs")
	ports := FreePorts(t, 5)
	k.Plain, k.SSL, k.SASL = fmt.Sprint("127.0.0.1:", ports[0]), fmt.Sprint("localhost:", ports[1]), fmt.Sprint("localhost:", ports[2])
	k.Certificate(t, time.Now().Add(24*time.Hour))
	k.write(t, ports, front, properties)
	format := k.java(libs, "kafka.tools.StorageTool", "format", "-t", clusterID(), "-c", k.path("server.properties"),
		"--add-scram", "SCRAM-SHA-256=[name="+k.User+",password="+k.Password+"]", "--add-scram", "SCRAM-SHA-512=[name="+k.User+",password="+k.Password+"]")
	if out, err := format.CombinedOutput(); err != nil {
		t.Fatalf("format Kafka's storage: %v\n%s", err, out)
	}
	k.Start(t)
	t.Cleanup(k.Kill)
	return k
}

// Certificate gives the broker another certificate, from its next start on.
func (k *Kafka) Certificate(t testing.TB, until time.Time) {
	t.Helper()
	cert, key := k.CA.Issue(t, k.Dir, "broker", until)
	var both []byte
	for _, f := range []string{key, cert} {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, b...)
	}
	if err := os.WriteFile(k.path("broker.pem"), both, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (k *Kafka) path(name string) string { return filepath.Join(k.Dir, name) }

func (k *Kafka) java(libs string, args ...string) *exec.Cmd {
	// Small and quick to start rather than fast.
	cmd := exec.Command("java", append([]string{
		"-Xms256m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true",
		"-Dlog4j2.configurationFile=" + filepath.Join(top(), "test", "kafka", "log4j2.properties"),
	}, args...)...)
	cmd.Env = append(os.Environ(), "CLASSPATH="+libs+"/*")
	return cmd
}

// Start starts the broker over the data that it had, at the addresses that it had.
func (k *Kafka) Start(t testing.TB) {
	t.Helper()
	libs := Cache(t, "Kafka's broker", "kafka", "libs")
	k.start(t, k.java(libs, "kafka.Kafka", k.path("server.properties")), func() bool { return answers(k.Plain) })
}

func clusterID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[0] &= 0x7f           // no leading dash, which would be an option
	return strings.TrimRight(base64.URLEncoding.EncodeToString(b[:]), "=")
}

func (k *Kafka) write(t testing.TB, ports []int, front *Front, properties []string) {
	t.Helper()
	more, advertised := "", ""
	if front != nil {
		behind := fmt.Sprint("127.0.0.1:", ports[4])
		front.To(behind)
		more, advertised = ",FRONT://"+behind, ",FRONT://"+front.Addr
	}
	const jaas = "org.apache.kafka.common.security"
	controller := fmt.Sprint("127.0.0.1:", ports[3])
	lines := append([]string{
		"process.roles=broker,controller", "node.id=1", "controller.quorum.voters=1@" + controller,
		"controller.listener.names=CONTROLLER", "inter.broker.listener.name=PLAINTEXT",
		fmt.Sprintf("listeners=PLAINTEXT://%s,SSL://127.0.0.1:%d,SASL_SSL://127.0.0.1:%d,CONTROLLER://%s%s", k.Plain, ports[1], ports[2], controller, more),
		fmt.Sprintf("advertised.listeners=PLAINTEXT://%s,SSL://%s,SASL_SSL://%s%s", k.Plain, k.SSL, k.SASL, advertised),
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT,FRONT:PLAINTEXT",
		"log.dirs=" + k.path("data"),
		"ssl.keystore.type=PEM", "ssl.keystore.location=" + k.path("broker.pem"),
		"ssl.truststore.type=PEM", "ssl.truststore.location=" + k.CA.File,
		"listener.name.ssl.ssl.client.auth=required", "listener.name.sasl_ssl.ssl.client.auth=none",
		"sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		fmt.Sprintf(`listener.name.sasl_ssl.plain.sasl.jaas.config=%s.plain.PlainLoginModule required username="admin" password="admin-secret" user_%s="%s";`, jaas, k.User, k.Password),
		"listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=" + jaas + ".scram.ScramLoginModule required;",
		"listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=" + jaas + ".scram.ScramLoginModule required;",
		// one node
		"offsets.topic.replication.factor=1", "offsets.topic.num.partitions=4", "transaction.state.log.replication.factor=1",
		"transaction.state.log.min.isr=1", "transaction.state.log.num.partitions=4", "share.coordinator.state.topic.replication.factor=1",
		"share.coordinator.state.topic.min.isr=1", "group.initial.rebalance.delay.ms=0", "auto.create.topics.enable=false",
		"num.network.threads=2", "num.io.threads=4", "num.recovery.threads.per.data.dir=2", "log.cleaner.threads=1",
		"background.threads=2", "log.cleaner.dedupe.buffer.size=2097152",
		// a broker that was killed registers again when its old session has run out (9 s by default)
		"broker.session.timeout.ms=2000", "broker.heartbeat.interval.ms=500",
	}, properties...)
	if err := os.WriteFile(k.path("server.properties"), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
