// An xDS server with no cache and no protocol logic: what grpc-go and the machine need at least to send resources that are
// encoded already. It takes the flags and the commands of tests/src/bin/xds-bench-server.rs that the benchmark xds_server uses.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"log"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	endpoints    = 10
)

type server struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	mu          sync.Mutex
	clusters    []*discovery.Resource
	assignments []*discovery.Resource
	streams     map[chan *discovery.Resource]bool
	versions    int
	acks        atomic.Int64
}

func resource(typeURL, name string, version int, message proto.Message) *discovery.Resource {
	value, err := proto.Marshal(message)
	if err != nil {
		log.Fatal(err)
	}
	return &discovery.Resource{
		Name: name, Version: strconv.Itoa(version), Resource: &anypb.Any{TypeUrl: typeURL, Value: value},
	}
}

func edsCluster(name string) *cluster.Cluster {
	return &cluster.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
		ConnectTimeout:       durationpb.New(time.Second),
		EdsClusterConfig: &cluster.Cluster_EdsClusterConfig{EdsConfig: &core.ConfigSource{
			ResourceApiVersion:    core.ApiVersion_V3,
			ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
		}},
	}
}

// assignment returns ten endpoints with consecutive addresses, of which the first is `first` in 10.0.0.0/8.
func assignment(name string, first, next uint32) *endpoint.ClusterLoadAssignment {
	var all []*endpoint.LbEndpoint
	for i := range uint32(endpoints) {
		at := next + i
		if i == 0 {
			at = first
		}
		all = append(all, &endpoint.LbEndpoint{
			HealthStatus: core.HealthStatus_HEALTHY,
			HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: &core.Address{
				Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
					Address:       net.IPv4(10, byte(at>>16), byte(at>>8), byte(at)).String(),
					PortSpecifier: &core.SocketAddress_PortValue{PortValue: 9000},
				}},
			}}},
		})
	}
	locality := []*endpoint.LocalityLbEndpoints{{LbEndpoints: all}}
	return &endpoint.ClusterLoadAssignment{ClusterName: name, Endpoints: locality}
}

func name(at int) string { return fmt.Sprintf("cluster-%05d", at) }

// DeltaAggregatedResources sends all resources of a type to the first request for it, and each change to everybody.
func (s *server) DeltaAggregatedResources(stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	requests := make(chan *discovery.DeltaDiscoveryRequest, 4)
	go func() {
		defer close(requests)
		for {
			request, err := stream.Recv()
			if err != nil {
				return
			}
			select {
			case requests <- request:
			case <-stream.Context().Done():
				return
			}
		}
	}()
	changes := make(chan *discovery.Resource, 1024)
	defer func() {
		s.mu.Lock()
		delete(s.streams, changes)
		s.mu.Unlock()
	}()
	nonce := 0
	send := func(typeURL string, resources []*discovery.Resource) error {
		nonce++
		return stream.Send(&discovery.DeltaDiscoveryResponse{
			TypeUrl: typeURL, Nonce: strconv.Itoa(nonce), Resources: resources,
		})
	}
	for {
		var err error
		select {
		case request, open := <-requests:
			switch {
			case !open:
				return nil
			case request.ResponseNonce != "":
				if request.TypeUrl == endpointType {
					s.acks.Add(1)
				}
			case request.TypeUrl == clusterType:
				err = send(clusterType, s.clusters)
			case request.TypeUrl == endpointType:
				s.mu.Lock()
				s.streams[changes] = true
				all := append([]*discovery.Resource(nil), s.assignments...)
				s.mu.Unlock()
				err = send(endpointType, all)
			}
		case changed := <-changes:
			err = send(endpointType, []*discovery.Resource{changed})
		}
		if err != nil {
			return err
		}
	}
}

func (s *server) obey(line string) string {
	words := strings.Fields(line)
	switch {
	case len(words) == 1 && words[0] == "acks":
		return strconv.FormatInt(s.acks.Swap(0), 10)
	case len(words) == 3 && words[0] == "addr":
		at, err := strconv.Atoi(words[1])
		first, wrong := strconv.ParseUint(words[2], 10, 24)
		if err != nil || wrong != nil || at < 0 || at >= len(s.assignments) {
			return "error: addr takes the number of a cluster and an address"
		}
		before := time.Now().UnixNano()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.versions++
		next := assignment(name(at), uint32(first), uint32(at*endpoints))
		s.assignments[at] = resource(endpointType, name(at), s.versions, next)
		for changes := range s.streams {
			changes <- s.assignments[at]
		}
		return fmt.Sprint(before, time.Now().UnixNano())
	}
	return "error: unknown command"
}

func listen(path string) net.Listener {
	listener, err := net.Listen("unix", path)
	if err != nil {
		log.Fatal(err)
	}
	return listener
}

func (s *server) control(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer connection.Close()
			lines := bufio.NewScanner(connection)
			for lines.Scan() {
				if _, err := fmt.Fprintln(connection, s.obey(lines.Text())); err != nil {
					return
				}
			}
		}()
	}
}

func main() {
	sock := flag.String("sock", "", "Unix socket of the xDS service")
	ctl := flag.String("ctl", "", "Unix socket for commands")
	count := flag.Int("clusters", 1000, "number of clusters")
	flag.Parse()
	s := &server{streams: map[chan *discovery.Resource]bool{}}
	for at := range *count {
		first := uint32(at * endpoints)
		s.clusters = append(s.clusters, resource(clusterType, name(at), 0, edsCluster(name(at))))
		s.assignments = append(s.assignments, resource(endpointType, name(at), 0, assignment(name(at), first, first)))
	}
	served := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(served, s)
	listener := listen(*sock)
	go s.control(listen(*ctl))
	log.Fatal(served.Serve(listener))
}
