package testenv

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// zooKeeper keeps what replicated tables of ClickHouse agree upon.
type zooKeeper struct {
	process
	addr string
}

// startZooKeeper starts Debian's over an empty directory and ends it with the test.
func startZooKeeper(t testing.TB) *zooKeeper {
	t.Helper()
	NeedTool(t, "java")
	NeedTool(t, "/usr/share/zookeeper/bin/zkServer.sh") // of the package whose jar it is
	dir, port := t.TempDir(), FreePorts(t, 1)[0]
	z := &zooKeeper{process: process{name: "ZooKeeper"}, addr: fmt.Sprint("127.0.0.1:", port)}
	conf := filepath.Join(dir, "zoo.cfg")
	text := fmt.Sprintf("tickTime=2000\ndataDir=%s/data\nclientPort=%d\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n", dir, port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("java", "-Xmx256m", "-cp", "/usr/share/java/zookeeper.jar", "org.apache.zookeeper.server.ZooKeeperServerMain", conf)
	cmd.Dir = dir
	z.start(t, cmd, func() bool {
		c, err := net.Dial("tcp", z.addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	t.Cleanup(z.Kill)
	return z
}

// StartClickHouseCluster starts engines that are the shards of a cluster with a name, each
// with one replica, and ends them with the test. What says ON CLUSTER runs on each, they
// ask each other for what is Distributed, and a real ZooKeeper knows of their Replicated
// tables. An engine within a process serves no other replica and so takes no rows for them:
// with -unreplicated, of args, such tables are made without Replicated.
func StartClickHouseCluster(t testing.TB, name string, shards int, args ...string) []*ClickHouse {
	t.Helper()
	if testing.Short() {
		t.Skip("needs ClickHouse and ZooKeeper: not part of -short")
	}
	z := startZooKeeper(t)
	ports := FreePorts(t, shards)
	zkHost, zkPort, _ := net.SplitHostPort(z.addr)
	var servers strings.Builder
	addrs := make([]string, 0, shards)
	for _, p := range ports {
		fmt.Fprintf(&servers, "<shard><internal_replication>true</internal_replication><replica><host>127.0.0.1</host><port>%d</port></replica></shard>", p)
		addrs = append(addrs, fmt.Sprint("127.0.0.1:", p))
	}
	var out []*ClickHouse
	for i, p := range ports {
		dir := t.TempDir()
		conf := filepath.Join(dir, "config.xml")
		text := fmt.Sprintf(`<clickhouse><path>%s/data</path><tcp_port>%d</tcp_port>
<zookeeper><node><host>%s</host><port>%s</port></node></zookeeper>
<macros><shard>shard-%d</shard><replica>replica-1</replica></macros>
<remote_servers><%s>%s</%s></remote_servers></clickhouse>`, dir, p, zkHost, zkPort, i+1, name, servers.String(), name)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		peers := slices.Concat(addrs[:i], addrs[i+1:])
		out = append(out, startClickHouse(t, filepath.Join(dir, "data"), addrs[i], append(slices.Clip(args), "-config", conf, "-peers", strings.Join(peers, ","))...))
	}
	return out
}
