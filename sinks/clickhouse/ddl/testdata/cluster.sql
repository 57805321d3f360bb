CREATE DATABASE IF NOT EXISTS `weir` ON CLUSTER `flows`;

CREATE TABLE IF NOT EXISTS `weir`.`weir_schema_local` ON CLUSTER `flows` (
    version UInt32 COMMENT 'number of the step',
    up Bool COMMENT 'applied, or taken back',
    at DateTime64(3, 'UTC') DEFAULT now64(3),
    by String COMMENT 'version of Weir'
) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
ORDER BY at;

CREATE TABLE IF NOT EXISTS `weir`.`weir_schema` ON CLUSTER `flows` AS `weir`.`weir_schema_local`
ENGINE = Distributed(`flows`, `weir`, `weir_schema_local`);

-- the table of flows

CREATE TABLE IF NOT EXISTS `weir`.`weir_flows_local` ON CLUSTER `flows` (
    `start` Nullable(DateTime64(3, 'UTC')) COMMENT 'when the connection began [ms]' CODEC(Delta, ZSTD(1)),
    `end` DateTime64(3, 'UTC') COMMENT 'last packet known at this export [ms]' CODEC(Delta, ZSTD(1)),
    `end_reason` Nullable(Enum8('none' = 0, 'idle' = 1, 'active' = 2, 'end' = 3, 'forced' = 4, 'lack_of_resources' = 5, 'unlisted' = 127)) COMMENT 'why this record was exported' CODEC(ZSTD(1)),
    `src_ip` Nullable(IPv6) COMMENT 'client address' CODEC(ZSTD(1)),
    `dst_ip` Nullable(IPv6) COMMENT 'server address after translation (the endpoint)' CODEC(ZSTD(1)),
    `src_port` Nullable(UInt16) COMMENT 'client port' CODEC(ZSTD(1)),
    `dst_port` Nullable(UInt16) COMMENT 'server port after translation' CODEC(ZSTD(1)),
    `proto` Nullable(UInt8) COMMENT 'IP protocol number' CODEC(ZSTD(1)),
    `icmp` Nullable(UInt16) COMMENT 'ICMP type and code [type*256+code]' CODEC(ZSTD(1)),
    `packets` Nullable(UInt64) COMMENT 'client to server since the start [packets]' CODEC(T64, ZSTD(1)),
    `bytes` Nullable(UInt64) COMMENT 'client to server since the start, IP total length [bytes]' CODEC(T64, ZSTD(1)),
    `packets_delta` Nullable(UInt64) COMMENT 'client to server since the last record [packets]' CODEC(T64, ZSTD(1)),
    `bytes_delta` Nullable(UInt64) COMMENT 'client to server since the last record [bytes]' CODEC(T64, ZSTD(1)),
    `reverse_packets` Nullable(UInt64) COMMENT 'server to client since the start [packets]' CODEC(T64, ZSTD(1)),
    `reverse_bytes` Nullable(UInt64) COMMENT 'server to client since the start [bytes]' CODEC(T64, ZSTD(1)),
    `reverse_packets_delta` Nullable(UInt64) COMMENT 'server to client since the last record [packets]' CODEC(T64, ZSTD(1)),
    `reverse_bytes_delta` Nullable(UInt64) COMMENT 'server to client since the last record [bytes]' CODEC(T64, ZSTD(1)),
    `src_pod` LowCardinality(Nullable(String)) COMMENT 'pod of the client' CODEC(ZSTD(1)),
    `src_ns` LowCardinality(Nullable(String)) COMMENT 'namespace of the client' CODEC(ZSTD(1)),
    `src_node` LowCardinality(Nullable(String)) COMMENT 'node of the client' CODEC(ZSTD(1)),
    `dst_pod` LowCardinality(Nullable(String)) COMMENT 'pod of the server' CODEC(ZSTD(1)),
    `dst_ns` LowCardinality(Nullable(String)) COMMENT 'namespace of the server' CODEC(ZSTD(1)),
    `dst_node` LowCardinality(Nullable(String)) COMMENT 'node of the server' CODEC(ZSTD(1)),
    `service_port` Nullable(UInt16) COMMENT 'port that the client dialled, before translation' CODEC(ZSTD(1)),
    `service` LowCardinality(Nullable(String)) COMMENT 'Service as namespace/name:port-name' CODEC(ZSTD(1)),
    `ingress_policy` LowCardinality(Nullable(String)) COMMENT 'policy that decided at the server' CODEC(ZSTD(1)),
    `ingress_policy_ns` LowCardinality(Nullable(String)) COMMENT 'its namespace' CODEC(ZSTD(1)),
    `ingress_policy_type` Nullable(Enum8('none' = 0, 'k8s' = 1, 'antrea_np' = 2, 'antrea_cnp' = 3, 'k8s_cnp' = 4, 'unlisted' = 127)) COMMENT 'its type' CODEC(ZSTD(1)),
    `ingress_rule` LowCardinality(Nullable(String)) COMMENT 'rule that decided at the server' CODEC(ZSTD(1)),
    `ingress_action` Nullable(Enum8('none' = 0, 'allow' = 1, 'drop' = 2, 'reject' = 3, 'unlisted' = 127)) COMMENT 'what the rule said' CODEC(ZSTD(1)),
    `egress_policy` LowCardinality(Nullable(String)) COMMENT 'policy that decided at the client' CODEC(ZSTD(1)),
    `egress_policy_ns` LowCardinality(Nullable(String)) COMMENT 'its namespace' CODEC(ZSTD(1)),
    `egress_policy_type` Nullable(Enum8('none' = 0, 'k8s' = 1, 'antrea_np' = 2, 'antrea_cnp' = 3, 'k8s_cnp' = 4, 'unlisted' = 127)) COMMENT 'its type' CODEC(ZSTD(1)),
    `egress_rule` LowCardinality(Nullable(String)) COMMENT 'rule that decided at the client' CODEC(ZSTD(1)),
    `egress_action` Nullable(Enum8('none' = 0, 'allow' = 1, 'drop' = 2, 'reject' = 3, 'unlisted' = 127)) COMMENT 'what the rule said' CODEC(ZSTD(1)),
    `tcp_state` LowCardinality(Nullable(String)) COMMENT 'conntrack\'s TCP state, as the kernel names it' CODEC(ZSTD(1)),
    `flow_type` Nullable(Enum8('unspecified' = 0, 'intra_node' = 1, 'inter_node' = 2, 'to_external' = 3, 'from_external' = 4, 'unlisted' = 127)) COMMENT 'Antrea\'s flow type' CODEC(ZSTD(1)),
    `egress_name` LowCardinality(Nullable(String)) COMMENT 'Egress that steers the connection' CODEC(ZSTD(1)),
    `egress_ip` LowCardinality(Nullable(String)) COMMENT 'source address outside the cluster' CODEC(ZSTD(1)),
    `egress_node` LowCardinality(Nullable(String)) COMMENT 'node through which it leaves' CODEC(ZSTD(1)),
    `proxy_snat_port` Nullable(UInt16) COMMENT 'client port after the entry node\'s translation' CODEC(ZSTD(1)),
    `proxy_snat_ip` Nullable(IPv6) COMMENT 'client address after the entry node\'s translation' CODEC(ZSTD(1)),
    `cluster_ip` Nullable(IPv6) COMMENT 'ClusterIP that the client dialled (Antrea keeps it beside service.ip)' CODEC(ZSTD(1)),
    `service_ip` Nullable(IPv6) COMMENT 'address that the client dialled, before translation' CODEC(ZSTD(1)),
    `ingress_policy_uid` LowCardinality(Nullable(String)) COMMENT 'UID of the policy' CODEC(ZSTD(1)),
    `egress_policy_uid` LowCardinality(Nullable(String)) COMMENT 'UID of the policy' CODEC(ZSTD(1)),
    `ingress_priority` Nullable(Int32) COMMENT 'priority of the rule' CODEC(ZSTD(1)),
    `egress_priority` Nullable(Int32) COMMENT 'priority of the rule' CODEC(ZSTD(1)),
    `src_packets` Nullable(UInt64) COMMENT 'packets as the client\'s node counted [packets]' CODEC(T64, ZSTD(1)),
    `src_bytes` Nullable(UInt64) COMMENT 'bytes as the client\'s node counted [bytes]' CODEC(T64, ZSTD(1)),
    `src_packets_delta` Nullable(UInt64) COMMENT 'since the last record, client\'s node [packets]' CODEC(T64, ZSTD(1)),
    `src_bytes_delta` Nullable(UInt64) COMMENT 'since the last record, client\'s node [bytes]' CODEC(T64, ZSTD(1)),
    `src_reverse_packets` Nullable(UInt64) COMMENT 'server to client, client\'s node [packets]' CODEC(T64, ZSTD(1)),
    `src_reverse_bytes` Nullable(UInt64) COMMENT 'server to client, client\'s node [bytes]' CODEC(T64, ZSTD(1)),
    `src_reverse_packets_delta` Nullable(UInt64) COMMENT 'server to client since the last record, client\'s node [packets]' CODEC(T64, ZSTD(1)),
    `src_reverse_bytes_delta` Nullable(UInt64) COMMENT 'server to client since the last record, client\'s node [bytes]' CODEC(T64, ZSTD(1)),
    `dst_packets` Nullable(UInt64) COMMENT 'packets as the server\'s node counted [packets]' CODEC(T64, ZSTD(1)),
    `dst_bytes` Nullable(UInt64) COMMENT 'bytes as the server\'s node counted [bytes]' CODEC(T64, ZSTD(1)),
    `dst_packets_delta` Nullable(UInt64) COMMENT 'since the last record, server\'s node [packets]' CODEC(T64, ZSTD(1)),
    `dst_bytes_delta` Nullable(UInt64) COMMENT 'since the last record, server\'s node [bytes]' CODEC(T64, ZSTD(1)),
    `dst_reverse_packets` Nullable(UInt64) COMMENT 'server to client, server\'s node [packets]' CODEC(T64, ZSTD(1)),
    `dst_reverse_bytes` Nullable(UInt64) COMMENT 'server to client, server\'s node [bytes]' CODEC(T64, ZSTD(1)),
    `dst_reverse_packets_delta` Nullable(UInt64) COMMENT 'server to client since the last record, server\'s node [packets]' CODEC(T64, ZSTD(1)),
    `dst_reverse_bytes_delta` Nullable(UInt64) COMMENT 'server to client since the last record, server\'s node [bytes]' CODEC(T64, ZSTD(1)),
    `tcp_state_prev` LowCardinality(Nullable(String)) COMMENT 'earlier TCP states' CODEC(ZSTD(1)),
    `src_labels` LowCardinality(Nullable(String)) COMMENT 'labels of the client\'s pod as JSON [JSON]' CODEC(ZSTD(1)),
    `dst_labels` LowCardinality(Nullable(String)) COMMENT 'labels of the server\'s pod as JSON [JSON]' CODEC(ZSTD(1)),
    `throughput` Nullable(UInt64) COMMENT 'client to server over the time since the last record [bit/s]' CODEC(T64, ZSTD(1)),
    `reverse_throughput` Nullable(UInt64) COMMENT 'server to client over the time since the last record [bit/s]' CODEC(T64, ZSTD(1)),
    `src_throughput` Nullable(UInt64) COMMENT 'client to server, client\'s node [bit/s]' CODEC(T64, ZSTD(1)),
    `dst_throughput` Nullable(UInt64) COMMENT 'client to server, server\'s node [bit/s]' CODEC(T64, ZSTD(1)),
    `src_reverse_throughput` Nullable(UInt64) COMMENT 'server to client, client\'s node [bit/s]' CODEC(T64, ZSTD(1)),
    `dst_reverse_throughput` Nullable(UInt64) COMMENT 'server to client, server\'s node [bit/s]' CODEC(T64, ZSTD(1)),
    `src_end` Nullable(DateTime64(3, 'UTC')) COMMENT 'last packet as the client\'s node saw it [ms]' CODEC(Delta, ZSTD(1)),
    `dst_end` Nullable(DateTime64(3, 'UTC')) COMMENT 'last packet as the server\'s node saw it [ms]' CODEC(Delta, ZSTD(1)),
    `app` LowCardinality(Nullable(String)) COMMENT 'application protocol' CODEC(ZSTD(1)),
    `http` Nullable(String) COMMENT 'HTTP transactions as JSON [JSON]' CODEC(ZSTD(1)),
    `cluster` LowCardinality(Nullable(String)) COMMENT 'cluster that observed it' CODEC(ZSTD(1)),
    `src_pod_uid` Nullable(UUID) COMMENT 'UID of the client\'s pod' CODEC(ZSTD(1)),
    `dst_pod_uid` Nullable(UUID) COMMENT 'UID of the server\'s pod' CODEC(ZSTD(1)),
    `src_node_uid` Nullable(UUID) COMMENT 'UID of the client\'s node' CODEC(ZSTD(1)),
    `dst_node_uid` Nullable(UUID) COMMENT 'UID of the server\'s node' CODEC(ZSTD(1)),
    `service_uid` Nullable(UUID) COMMENT 'UID of the Service' CODEC(ZSTD(1)),
    `ingress_policy_uuid` Nullable(UUID) COMMENT 'UID of the policy, raw' CODEC(ZSTD(1)),
    `egress_policy_uuid` Nullable(UUID) COMMENT 'UID of the policy, raw' CODEC(ZSTD(1)),
    `egress_uid` Nullable(UUID) COMMENT 'UID of the Egress' CODEC(ZSTD(1)),
    `egress_node_uid` Nullable(UUID) COMMENT 'UID of the Egress node' CODEC(ZSTD(1)),
    `original_domain` Nullable(UInt32) COMMENT 'observation domain that first exported it' CODEC(T64, ZSTD(1)),
    `original_exporter` Nullable(IPv6) COMMENT 'exporter that first exported it' CODEC(ZSTD(1)),
    `direction` Nullable(UInt8) COMMENT 'direction at the observer [0 ingress, 1 egress, 255 unknown]' CODEC(ZSTD(1)),
    `outcome` Nullable(Enum8('unknown' = 0, 'ok' = 1, 'refused' = 2, 'reset' = 3, 'timed_out' = 4, 'unanswered' = 5, 'denied' = 6, 'path_loss' = 7, 'attempt' = 8, 'unlisted' = 127)) COMMENT 'what became of the connection' CODEC(ZSTD(1)),
    `evidence` Nullable(UInt8) COMMENT 'what the outcome rests on [bit set]' CODEC(ZSTD(1)),
    `seen_by` Nullable(Enum8('unknown' = 0, 'src' = 1, 'dst' = 2, 'both' = 3, 'unlisted' = 127)) COMMENT 'which ends observed it' CODEC(ZSTD(1)),
    `scope` Nullable(Enum8('unknown' = 0, 'same_node' = 1, 'cross_node' = 2, 'cross_zone' = 3, 'external' = 4, 'unlisted' = 127)) COMMENT 'same node, cross node, cross zone, external' CODEC(ZSTD(1)),
    `src_kind` Nullable(Enum8('unknown' = 0, 'pod' = 1, 'host_pod' = 2, 'node' = 3, 'service' = 4, 'external' = 5, 'unlisted' = 127)) COMMENT 'what the client is' CODEC(ZSTD(1)),
    `dst_kind` Nullable(Enum8('unknown' = 0, 'pod' = 1, 'host_pod' = 2, 'node' = 3, 'service' = 4, 'external' = 5, 'unlisted' = 127)) COMMENT 'what the server is' CODEC(ZSTD(1)),
    `src_zone` LowCardinality(Nullable(String)) COMMENT 'topology.kubernetes.io/zone of the client\'s node' CODEC(ZSTD(1)),
    `dst_zone` LowCardinality(Nullable(String)) COMMENT 'topology.kubernetes.io/zone of the server\'s node' CODEC(ZSTD(1)),
    `src_workload` LowCardinality(Nullable(String)) COMMENT 'owner of the client\'s pod as Kind/name' CODEC(ZSTD(1)),
    `dst_workload` LowCardinality(Nullable(String)) COMMENT 'owner of the server\'s pod as Kind/name' CODEC(ZSTD(1)),
    `src_name` LowCardinality(Nullable(String)) COMMENT 'name of an external client' CODEC(ZSTD(1)),
    `dst_name` LowCardinality(Nullable(String)) COMMENT 'name of an external server' CODEC(ZSTD(1)),
    `src_name_via` Nullable(Enum8('none' = 0, 'cidr' = 1, 'dns' = 2, 'unlisted' = 127)) COMMENT 'where src.name comes from' CODEC(ZSTD(1)),
    `dst_name_via` Nullable(Enum8('none' = 0, 'cidr' = 1, 'dns' = 2, 'unlisted' = 127)) COMMENT 'where dst.name comes from' CODEC(ZSTD(1)),
    `ct_zone` Nullable(UInt16) COMMENT 'conntrack zone of the entry' CODEC(ZSTD(1)),
    `ct_mark` Nullable(UInt32) COMMENT 'conntrack mark of the entry' CODEC(T64, ZSTD(1)),
    `ct_status` Nullable(UInt32) COMMENT 'conntrack status bits [IPS_* bits]' CODEC(T64, ZSTD(1)),
    `rtt` Nullable(UInt32) COMMENT 'smoothed round trip time [us]' CODEC(T64, ZSTD(1)),
    `rtt_min` Nullable(UInt32) COMMENT 'minimum round trip time [us]' CODEC(T64, ZSTD(1)),
    `src_retransmits` Nullable(UInt32) COMMENT 'segments that the client sent again [segments]' CODEC(T64, ZSTD(1)),
    `dst_retransmits` Nullable(UInt32) COMMENT 'segments that the server sent again [segments]' CODEC(T64, ZSTD(1)),
    `path_mtu` Nullable(UInt32) COMMENT 'path MTU of the socket [bytes]' CODEC(T64, ZSTD(1)),
    `ingress_rule_id` Nullable(UInt32) COMMENT 'number stamped by the rule that decided at the server' CODEC(T64, ZSTD(1)),
    `egress_rule_id` Nullable(UInt32) COMMENT 'number stamped by the rule that decided at the client' CODEC(T64, ZSTD(1)),
    `ingress_revision` Nullable(UInt32) COMMENT 'revision of that rule' CODEC(T64, ZSTD(1)),
    `egress_revision` Nullable(UInt32) COMMENT 'revision of that rule' CODEC(T64, ZSTD(1)),
    `loss_packets` Nullable(Int64) COMMENT 'client\'s node minus server\'s node, client to server, since the start [packets]' CODEC(T64, ZSTD(1)),
    `loss_reverse_packets` Nullable(Int64) COMMENT 'server\'s node minus client\'s node, server to client, since the start [packets]' CODEC(T64, ZSTD(1)),
    `observer` LowCardinality(Nullable(String)) COMMENT 'node whose agent made this record' CODEC(ZSTD(1)),
    `conn_id` Nullable(UInt64) COMMENT 'stable number of the connection: hash of its tuple and start' CODEC(ZSTD(1)),
    `seq` Nullable(UInt32) COMMENT 'number of this record within its connection at its exporter, from 0' CODEC(T64, ZSTD(1)),
    `first` Nullable(Bool) COMMENT 'the first record of the connection' CODEC(ZSTD(1)),
    `final` Nullable(Bool) COMMENT 'the last record of the connection' CODEC(ZSTD(1)),
    `half` Nullable(Bool) COMMENT 'two ends were expected and one was seen' CODEC(ZSTD(1)),
    `records` Nullable(UInt32) COMMENT 'exporters\' records that this one stands for [records]' CODEC(T64, ZSTD(1)),
    `id` Nullable(UUID) COMMENT 'deterministic number of this record, for deduplication' CODEC(ZSTD(1)),
    `since` Nullable(DateTime64(3, 'UTC')) COMMENT 'from when the deltas count: the end of the record before, or the start [ms]' CODEC(Delta, ZSTD(1)),
    `policy_eval` Nullable(Enum8('none' = 0, 'unprotected' = 1, 'allowed' = 2, 'denied' = 3, 'undefined' = 4, 'unlisted' = 127)) COMMENT 'what the NetworkPolicies in force at the start say of the connection: evaluated, not observed' CODEC(ZSTD(1)),
    `policy_eval_why` LowCardinality(Nullable(String)) COMMENT 'the rules that allow it, or the policies that deny it and the nearest allow' CODEC(ZSTD(1)),
    `dns_query` Nullable(String) COMMENT 'name that this DNS connection asked for last, as seen on the wire' CODEC(ZSTD(1)),
    `dns_rcode` Nullable(Enum8('noerror' = 0, 'formerr' = 1, 'servfail' = 2, 'nxdomain' = 3, 'notimp' = 4, 'refused' = 5, 'yxdomain' = 6, 'yxrrset' = 7, 'nxrrset' = 8, 'notauth' = 9, 'notzone' = 10, 'dsotypeni' = 11, 'unlisted' = 127)) COMMENT 'response code of its last answer' CODEC(ZSTD(1)),
    `dns_time` Nullable(UInt32) COMMENT 'time from the question to its last answer [us]' CODEC(T64, ZSTD(1)),
    `src_outcome` Nullable(Enum8('unknown' = 0, 'ok' = 1, 'refused' = 2, 'reset' = 3, 'timed_out' = 4, 'unanswered' = 5, 'denied' = 6, 'path_loss' = 7, 'attempt' = 8, 'unlisted' = 127)) COMMENT 'outcome as the client\'s node proved it' CODEC(ZSTD(1)),
    `dst_outcome` Nullable(Enum8('unknown' = 0, 'ok' = 1, 'refused' = 2, 'reset' = 3, 'timed_out' = 4, 'unanswered' = 5, 'denied' = 6, 'path_loss' = 7, 'attempt' = 8, 'unlisted' = 127)) COMMENT 'outcome as the server\'s node proved it' CODEC(ZSTD(1)),
    `reset_by` Nullable(Enum8('unknown' = 0, 'src' = 1, 'dst' = 2, 'path' = 3, 'unlisted' = 127)) COMMENT 'which end refused or reset the connection, or path where neither did' CODEC(ZSTD(1)),
    `denied` Nullable(UInt32) COMMENT 'packets that a rule of the observer\'s node denied, as it logged them [packets]' CODEC(T64, ZSTD(1)),
    `src_limited_by` Nullable(Enum8('unknown' = 0, 'application' = 1, 'receiver' = 2, 'send_buffer' = 3, 'congestion' = 4, 'unlisted' = 127)) COMMENT 'what held the client back from sending between the last two looks at its socket' CODEC(ZSTD(1)),
    `dst_limited_by` Nullable(Enum8('unknown' = 0, 'application' = 1, 'receiver' = 2, 'send_buffer' = 3, 'congestion' = 4, 'unlisted' = 127)) COMMENT 'what held the server back from sending between the last two looks at its socket' CODEC(ZSTD(1)),
    `canary` Nullable(Bool) COMMENT 'a connection of the probe, by its port (61980 to 61999): weirctl verify or an agent opened it, leave it out of totals' CODEC(ZSTD(1)),
    `dst_listen` Nullable(Enum8('unknown' = 0, 'none' = 1, 'open' = 2, 'loopback' = 3, 'other_address' = 4, 'full' = 5, 'unlisted' = 127)) COMMENT 'who waited at the server\'s port when the connection failed' CODEC(ZSTD(1)),
    `dst_listens` LowCardinality(Nullable(String)) COMMENT 'where the server\'s address listens instead: at most 8 ports of the protocol, then +N for N more, and the same port of the other protocol, as in 8080, 53/udp' CODEC(ZSTD(1)),
    `dst_backlog` Nullable(UInt32) COMMENT 'connections that waited for accept(2) at the server\'s port [connections]' CODEC(T64, ZSTD(1)),
    `dst_backlog_max` Nullable(UInt32) COMMENT 'how many may wait there: the backlog of listen(2) [connections]' CODEC(T64, ZSTD(1)),
    `handed_over` Nullable(Bool) COMMENT 'told before to an aggregator that left: an agent\'s word to the one that takes over, whose deltas are zero' CODEC(ZSTD(1)),
    `src_net` LowCardinality(Nullable(String)) COMMENT 'network of an external client: internet, multicast, or a network without global routes as a CIDR (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10 by their /16, fc00::/7 by its /48)' CODEC(ZSTD(1)),
    `dst_net` LowCardinality(Nullable(String)) COMMENT 'network of an external server, as src.net' CODEC(ZSTD(1)),
    `spool` LowCardinality(String) COMMENT 'spool of the aggregator from which the row came',
    `pos` UInt64 COMMENT 'position in that spool' CODEC(Delta, ZSTD(1)),
    `inserted` DateTime('UTC') COMMENT 'when the aggregator first tried to write the row' CODEC(Delta, ZSTD(1)),
    INDEX end_range `end` TYPE minmax GRANULARITY 1,
    INDEX since_range since TYPE minmax GRANULARITY 1,
    INDEX conn_bloom conn_id TYPE bloom_filter GRANULARITY 4,
    INDEX src_ip_bloom src_ip TYPE bloom_filter GRANULARITY 4,
    INDEX dst_ip_bloom dst_ip TYPE bloom_filter GRANULARITY 4,
    INDEX src_pod_bloom src_pod TYPE bloom_filter GRANULARITY 4,
    INDEX dst_pod_bloom dst_pod TYPE bloom_filter GRANULARITY 4,
    PROJECTION positions (SELECT spool, max(pos) GROUP BY spool)
) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}')
PARTITION BY toDate(inserted)
ORDER BY (toStartOfHour(`end`), src_ns, dst_ns, dst_workload, `end`)
SETTINGS allow_nullable_key = 1, ttl_only_drop_parts = 1, replicated_deduplication_window = 1000, replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS `weir`.`weir_flows` ON CLUSTER `flows` AS `weir`.`weir_flows_local`
ENGINE = Distributed(`flows`, `weir`, `weir_flows_local`);

-- back

DROP TABLE IF EXISTS `weir`.`weir_flows` ON CLUSTER `flows`;
DROP TABLE IF EXISTS `weir`.`weir_flows_local` ON CLUSTER `flows`;

-- sums by pod, node, policy and minute

CREATE TABLE IF NOT EXISTS `weir`.`weir_flows_by_pod_local` ON CLUSTER `flows` (
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    `src_ns` LowCardinality(Nullable(String)),
    `src_pod` LowCardinality(Nullable(String)),
    `src_workload` LowCardinality(Nullable(String)),
    `dst_ns` LowCardinality(Nullable(String)),
    `dst_pod` LowCardinality(Nullable(String)),
    `dst_workload` LowCardinality(Nullable(String)),
    `service` LowCardinality(Nullable(String)),
    `dst_port` Nullable(UInt16),
    `proto` Nullable(UInt8),
    `records` UInt64 CODEC(T64, ZSTD(1)),
    `connections` UInt64 CODEC(T64, ZSTD(1)),
    `bytes` UInt64 CODEC(T64, ZSTD(1)),
    `reverse_bytes` UInt64 CODEC(T64, ZSTD(1)),
    `packets` UInt64 CODEC(T64, ZSTD(1)),
    `reverse_packets` UInt64 CODEC(T64, ZSTD(1))
) ENGINE = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', (`records`, `connections`, `bytes`, `reverse_bytes`, `packets`, `reverse_packets`))
PARTITION BY toYYYYMM(minute)
ORDER BY (minute, `src_ns`, `src_pod`, `src_workload`, `dst_ns`, `dst_pod`, `dst_workload`, `service`, `dst_port`, `proto`)
SETTINGS allow_nullable_key = 1, replicated_deduplication_window = 1000, replicated_deduplication_window_seconds = 604800
COMMENT 'flows by pod and minute';

CREATE TABLE IF NOT EXISTS `weir`.`weir_flows_by_pod` ON CLUSTER `flows` AS `weir`.`weir_flows_by_pod_local`
ENGINE = Distributed(`flows`, `weir`, `weir_flows_by_pod_local`);

CREATE MATERIALIZED VIEW IF NOT EXISTS `weir`.`weir_flows_by_pod_mv` ON CLUSTER `flows` TO `weir`.`weir_flows_by_pod_local` AS
SELECT toStartOfMinute(toDateTime(`end`, 'UTC')) AS minute, `src_ns`, `src_pod`, `src_workload`, `dst_ns`, `dst_pod`, `dst_workload`, `service`, `dst_port`, `proto`,
    count() AS `records`,
    countIf(ifNull(`first`, false)) AS `connections`,
    sum(ifNull(bytes_delta, 0)) AS `bytes`,
    sum(ifNull(reverse_bytes_delta, 0)) AS `reverse_bytes`,
    sum(ifNull(packets_delta, 0)) AS `packets`,
    sum(ifNull(reverse_packets_delta, 0)) AS `reverse_packets`
FROM `weir`.`weir_flows_local`
GROUP BY minute, `src_ns`, `src_pod`, `src_workload`, `dst_ns`, `dst_pod`, `dst_workload`, `service`, `dst_port`, `proto`;

CREATE TABLE IF NOT EXISTS `weir`.`weir_flows_by_node_local` ON CLUSTER `flows` (
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    `src_node` LowCardinality(Nullable(String)),
    `dst_node` LowCardinality(Nullable(String)),
    `scope` Nullable(Enum8('unknown' = 0, 'same_node' = 1, 'cross_node' = 2, 'cross_zone' = 3, 'external' = 4, 'unlisted' = 127)),
    `outcome` Nullable(Enum8('unknown' = 0, 'ok' = 1, 'refused' = 2, 'reset' = 3, 'timed_out' = 4, 'unanswered' = 5, 'denied' = 6, 'path_loss' = 7, 'attempt' = 8, 'unlisted' = 127)),
    `records` UInt64 CODEC(T64, ZSTD(1)),
    `connections` UInt64 CODEC(T64, ZSTD(1)),
    `bytes` UInt64 CODEC(T64, ZSTD(1)),
    `reverse_bytes` UInt64 CODEC(T64, ZSTD(1)),
    `packets` UInt64 CODEC(T64, ZSTD(1)),
    `reverse_packets` UInt64 CODEC(T64, ZSTD(1))
) ENGINE = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', (`records`, `connections`, `bytes`, `reverse_bytes`, `packets`, `reverse_packets`))
PARTITION BY toYYYYMM(minute)
ORDER BY (minute, `src_node`, `dst_node`, `scope`, `outcome`)
SETTINGS allow_nullable_key = 1, replicated_deduplication_window = 1000, replicated_deduplication_window_seconds = 604800
COMMENT 'flows by node and minute';

CREATE TABLE IF NOT EXISTS `weir`.`weir_flows_by_node` ON CLUSTER `flows` AS `weir`.`weir_flows_by_node_local`
ENGINE = Distributed(`flows`, `weir`, `weir_flows_by_node_local`);

CREATE MATERIALIZED VIEW IF NOT EXISTS `weir`.`weir_flows_by_node_mv` ON CLUSTER `flows` TO `weir`.`weir_flows_by_node_local` AS
SELECT toStartOfMinute(toDateTime(`end`, 'UTC')) AS minute, `src_node`, `dst_node`, `scope`, `outcome`,
    count() AS `records`,
    countIf(ifNull(`first`, false)) AS `connections`,
    sum(ifNull(bytes_delta, 0)) AS `bytes`,
    sum(ifNull(reverse_bytes_delta, 0)) AS `reverse_bytes`,
    sum(ifNull(packets_delta, 0)) AS `packets`,
    sum(ifNull(reverse_packets_delta, 0)) AS `reverse_packets`
FROM `weir`.`weir_flows_local`
GROUP BY minute, `src_node`, `dst_node`, `scope`, `outcome`;

CREATE TABLE IF NOT EXISTS `weir`.`weir_flows_by_policy_local` ON CLUSTER `flows` (
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    `ingress_policy_ns` LowCardinality(Nullable(String)),
    `ingress_policy` LowCardinality(Nullable(String)),
    `ingress_rule` LowCardinality(Nullable(String)),
    `ingress_action` Nullable(Enum8('none' = 0, 'allow' = 1, 'drop' = 2, 'reject' = 3, 'unlisted' = 127)),
    `egress_policy_ns` LowCardinality(Nullable(String)),
    `egress_policy` LowCardinality(Nullable(String)),
    `egress_rule` LowCardinality(Nullable(String)),
    `egress_action` Nullable(Enum8('none' = 0, 'allow' = 1, 'drop' = 2, 'reject' = 3, 'unlisted' = 127)),
    `policy_eval` Nullable(Enum8('none' = 0, 'unprotected' = 1, 'allowed' = 2, 'denied' = 3, 'undefined' = 4, 'unlisted' = 127)),
    `src_ns` LowCardinality(Nullable(String)),
    `dst_ns` LowCardinality(Nullable(String)),
    `records` UInt64 CODEC(T64, ZSTD(1)),
    `connections` UInt64 CODEC(T64, ZSTD(1)),
    `bytes` UInt64 CODEC(T64, ZSTD(1)),
    `reverse_bytes` UInt64 CODEC(T64, ZSTD(1)),
    `packets` UInt64 CODEC(T64, ZSTD(1)),
    `reverse_packets` UInt64 CODEC(T64, ZSTD(1))
) ENGINE = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', (`records`, `connections`, `bytes`, `reverse_bytes`, `packets`, `reverse_packets`))
PARTITION BY toYYYYMM(minute)
ORDER BY (minute, `ingress_policy_ns`, `ingress_policy`, `ingress_rule`, `ingress_action`, `egress_policy_ns`, `egress_policy`, `egress_rule`, `egress_action`, `policy_eval`, `src_ns`, `dst_ns`)
SETTINGS allow_nullable_key = 1, replicated_deduplication_window = 1000, replicated_deduplication_window_seconds = 604800
COMMENT 'flows by policy and rule and minute';

CREATE TABLE IF NOT EXISTS `weir`.`weir_flows_by_policy` ON CLUSTER `flows` AS `weir`.`weir_flows_by_policy_local`
ENGINE = Distributed(`flows`, `weir`, `weir_flows_by_policy_local`);

CREATE MATERIALIZED VIEW IF NOT EXISTS `weir`.`weir_flows_by_policy_mv` ON CLUSTER `flows` TO `weir`.`weir_flows_by_policy_local` AS
SELECT toStartOfMinute(toDateTime(`end`, 'UTC')) AS minute, `ingress_policy_ns`, `ingress_policy`, `ingress_rule`, `ingress_action`, `egress_policy_ns`, `egress_policy`, `egress_rule`, `egress_action`, `policy_eval`, `src_ns`, `dst_ns`,
    count() AS `records`,
    countIf(ifNull(`first`, false)) AS `connections`,
    sum(ifNull(bytes_delta, 0)) AS `bytes`,
    sum(ifNull(reverse_bytes_delta, 0)) AS `reverse_bytes`,
    sum(ifNull(packets_delta, 0)) AS `packets`,
    sum(ifNull(reverse_packets_delta, 0)) AS `reverse_packets`
FROM `weir`.`weir_flows_local`
GROUP BY minute, `ingress_policy_ns`, `ingress_policy`, `ingress_rule`, `ingress_action`, `egress_policy_ns`, `egress_policy`, `egress_rule`, `egress_action`, `policy_eval`, `src_ns`, `dst_ns`;

CREATE TABLE IF NOT EXISTS `weir`.`weir_flows_by_minute_local` ON CLUSTER `flows` (
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    `src_ns` LowCardinality(Nullable(String)),
    `dst_ns` LowCardinality(Nullable(String)),
    `scope` Nullable(Enum8('unknown' = 0, 'same_node' = 1, 'cross_node' = 2, 'cross_zone' = 3, 'external' = 4, 'unlisted' = 127)),
    `outcome` Nullable(Enum8('unknown' = 0, 'ok' = 1, 'refused' = 2, 'reset' = 3, 'timed_out' = 4, 'unanswered' = 5, 'denied' = 6, 'path_loss' = 7, 'attempt' = 8, 'unlisted' = 127)),
    `records` UInt64 CODEC(T64, ZSTD(1)),
    `connections` UInt64 CODEC(T64, ZSTD(1)),
    `bytes` UInt64 CODEC(T64, ZSTD(1)),
    `reverse_bytes` UInt64 CODEC(T64, ZSTD(1)),
    `packets` UInt64 CODEC(T64, ZSTD(1)),
    `reverse_packets` UInt64 CODEC(T64, ZSTD(1))
) ENGINE = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', (`records`, `connections`, `bytes`, `reverse_bytes`, `packets`, `reverse_packets`))
PARTITION BY toYYYYMM(minute)
ORDER BY (minute, `src_ns`, `dst_ns`, `scope`, `outcome`)
SETTINGS allow_nullable_key = 1, replicated_deduplication_window = 1000, replicated_deduplication_window_seconds = 604800
COMMENT 'flows by namespaces, scope and outcome and minute';

CREATE TABLE IF NOT EXISTS `weir`.`weir_flows_by_minute` ON CLUSTER `flows` AS `weir`.`weir_flows_by_minute_local`
ENGINE = Distributed(`flows`, `weir`, `weir_flows_by_minute_local`);

CREATE MATERIALIZED VIEW IF NOT EXISTS `weir`.`weir_flows_by_minute_mv` ON CLUSTER `flows` TO `weir`.`weir_flows_by_minute_local` AS
SELECT toStartOfMinute(toDateTime(`end`, 'UTC')) AS minute, `src_ns`, `dst_ns`, `scope`, `outcome`,
    count() AS `records`,
    countIf(ifNull(`first`, false)) AS `connections`,
    sum(ifNull(bytes_delta, 0)) AS `bytes`,
    sum(ifNull(reverse_bytes_delta, 0)) AS `reverse_bytes`,
    sum(ifNull(packets_delta, 0)) AS `packets`,
    sum(ifNull(reverse_packets_delta, 0)) AS `reverse_packets`
FROM `weir`.`weir_flows_local`
GROUP BY minute, `src_ns`, `dst_ns`, `scope`, `outcome`;

-- back

DROP VIEW IF EXISTS `weir`.`weir_flows_by_pod_mv` ON CLUSTER `flows`;
DROP TABLE IF EXISTS `weir`.`weir_flows_by_pod` ON CLUSTER `flows`;
DROP TABLE IF EXISTS `weir`.`weir_flows_by_pod_local` ON CLUSTER `flows`;
DROP VIEW IF EXISTS `weir`.`weir_flows_by_node_mv` ON CLUSTER `flows`;
DROP TABLE IF EXISTS `weir`.`weir_flows_by_node` ON CLUSTER `flows`;
DROP TABLE IF EXISTS `weir`.`weir_flows_by_node_local` ON CLUSTER `flows`;
DROP VIEW IF EXISTS `weir`.`weir_flows_by_policy_mv` ON CLUSTER `flows`;
DROP TABLE IF EXISTS `weir`.`weir_flows_by_policy` ON CLUSTER `flows`;
DROP TABLE IF EXISTS `weir`.`weir_flows_by_policy_local` ON CLUSTER `flows`;
DROP VIEW IF EXISTS `weir`.`weir_flows_by_minute_mv` ON CLUSTER `flows`;
DROP TABLE IF EXISTS `weir`.`weir_flows_by_minute` ON CLUSTER `flows`;
DROP TABLE IF EXISTS `weir`.`weir_flows_by_minute_local` ON CLUSTER `flows`;

-- a view with Theia's names

CREATE VIEW IF NOT EXISTS `weir`.`flows` ON CLUSTER `flows` AS SELECT
    inserted AS timeInserted,
    toDateTime(ifNull(`start`, fromUnixTimestamp64Milli(0, 'UTC')), 'UTC') AS flowStartSeconds,
    toDateTime(ifNull(`end`, fromUnixTimestamp64Milli(0, 'UTC')), 'UTC') AS flowEndSeconds,
    toDateTime(ifNull(`src_end`, fromUnixTimestamp64Milli(0, 'UTC')), 'UTC') AS flowEndSecondsFromSourceNode,
    toDateTime(ifNull(`dst_end`, fromUnixTimestamp64Milli(0, 'UTC')), 'UTC') AS flowEndSecondsFromDestinationNode,
    toUInt8(ifNull(CAST(`end_reason` AS Nullable(Int16)), 0)) AS flowEndReason,
    ifNull(replaceRegexpOne(IPv6NumToString(`src_ip`), '^::ffff:([0-9.]+)$', '\\1'), '') AS sourceIP,
    ifNull(replaceRegexpOne(IPv6NumToString(`dst_ip`), '^::ffff:([0-9.]+)$', '\\1'), '') AS destinationIP,
    ifNull(`src_port`, 0) AS sourceTransportPort,
    ifNull(`dst_port`, 0) AS destinationTransportPort,
    toUInt8(ifNull(CAST(`proto` AS Nullable(Int16)), 0)) AS protocolIdentifier,
    ifNull(`packets`, 0) AS packetTotalCount,
    ifNull(`bytes`, 0) AS octetTotalCount,
    ifNull(`packets_delta`, 0) AS packetDeltaCount,
    ifNull(`bytes_delta`, 0) AS octetDeltaCount,
    ifNull(`reverse_packets`, 0) AS reversePacketTotalCount,
    ifNull(`reverse_bytes`, 0) AS reverseOctetTotalCount,
    ifNull(`reverse_packets_delta`, 0) AS reversePacketDeltaCount,
    ifNull(`reverse_bytes_delta`, 0) AS reverseOctetDeltaCount,
    ifNull(CAST(`src_pod` AS Nullable(String)), '') AS sourcePodName,
    ifNull(CAST(`src_ns` AS Nullable(String)), '') AS sourcePodNamespace,
    ifNull(CAST(`src_node` AS Nullable(String)), '') AS sourceNodeName,
    ifNull(CAST(`dst_pod` AS Nullable(String)), '') AS destinationPodName,
    ifNull(CAST(`dst_ns` AS Nullable(String)), '') AS destinationPodNamespace,
    ifNull(CAST(`dst_node` AS Nullable(String)), '') AS destinationNodeName,
    ifNull(replaceRegexpOne(IPv6NumToString(`cluster_ip`), '^::ffff:([0-9.]+)$', '\\1'), '') AS destinationClusterIP,
    ifNull(`service_port`, 0) AS destinationServicePort,
    ifNull(CAST(`service` AS Nullable(String)), '') AS destinationServicePortName,
    ifNull(CAST(`ingress_policy` AS Nullable(String)), '') AS ingressNetworkPolicyName,
    ifNull(CAST(`ingress_policy_ns` AS Nullable(String)), '') AS ingressNetworkPolicyNamespace,
    ifNull(CAST(`ingress_rule` AS Nullable(String)), '') AS ingressNetworkPolicyRuleName,
    toUInt8(ifNull(CAST(`ingress_action` AS Nullable(Int16)), 0)) AS ingressNetworkPolicyRuleAction,
    toUInt8(ifNull(CAST(`ingress_policy_type` AS Nullable(Int16)), 0)) AS ingressNetworkPolicyType,
    ifNull(CAST(`egress_policy` AS Nullable(String)), '') AS egressNetworkPolicyName,
    ifNull(CAST(`egress_policy_ns` AS Nullable(String)), '') AS egressNetworkPolicyNamespace,
    ifNull(CAST(`egress_rule` AS Nullable(String)), '') AS egressNetworkPolicyRuleName,
    toUInt8(ifNull(CAST(`egress_action` AS Nullable(Int16)), 0)) AS egressNetworkPolicyRuleAction,
    toUInt8(ifNull(CAST(`egress_policy_type` AS Nullable(Int16)), 0)) AS egressNetworkPolicyType,
    ifNull(CAST(`tcp_state` AS Nullable(String)), '') AS tcpState,
    toUInt8(ifNull(CAST(`flow_type` AS Nullable(Int16)), 0)) AS flowType,
    ifNull(CAST(`src_labels` AS Nullable(String)), '') AS sourcePodLabels,
    ifNull(CAST(`dst_labels` AS Nullable(String)), '') AS destinationPodLabels,
    ifNull(`throughput`, 0) AS throughput,
    ifNull(`reverse_throughput`, 0) AS reverseThroughput,
    ifNull(`src_throughput`, 0) AS throughputFromSourceNode,
    ifNull(`dst_throughput`, 0) AS throughputFromDestinationNode,
    ifNull(`src_reverse_throughput`, 0) AS reverseThroughputFromSourceNode,
    ifNull(`dst_reverse_throughput`, 0) AS reverseThroughputFromDestinationNode,
    ifNull(CAST(`cluster` AS Nullable(String)), '') AS clusterUUID,
    ifNull(CAST(`egress_name` AS Nullable(String)), '') AS egressName,
    ifNull(CAST(`egress_ip` AS Nullable(String)), '') AS egressIP,
    ifNull(CAST(`egress_node` AS Nullable(String)), '') AS egressNodeName,
    ifNull(replaceRegexpOne(IPv6NumToString(`service_ip`), '^::ffff:([0-9.]+)$', '\\1'), '') AS destinationServiceIP,
    ifNull(replaceRegexpOne(IPv6NumToString(`proxy_snat_ip`), '^::ffff:([0-9.]+)$', '\\1'), '') AS proxySnatIP,
    ifNull(`proxy_snat_port`, 0) AS proxySnatPort,
    ifNull(CAST(`app` AS Nullable(String)), '') AS appProtocolName,
    ifNull(CAST(`http` AS Nullable(String)), '') AS httpVals,
    toUInt8(0) AS trusted
FROM `weir`.`weir_flows`;

-- back

DROP VIEW IF EXISTS `weir`.`flows` ON CLUSTER `flows`;
