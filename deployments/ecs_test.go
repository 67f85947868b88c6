package deployments

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/seriatim/seriatim/workerd/config"
)

// taskDefinition is as much of ECS' RegisterTaskDefinition as the files use; an unknown key is an error.
type taskDefinition struct {
	Family                  string            `json:"family"`
	RequiresCompatibilities []string          `json:"requiresCompatibilities"`
	NetworkMode             string            `json:"networkMode"`
	CPU                     string            `json:"cpu"`
	Memory                  string            `json:"memory"`
	RuntimePlatform         map[string]string `json:"runtimePlatform"`
	ExecutionRoleArn        string            `json:"executionRoleArn"`
	TaskRoleArn             string            `json:"taskRoleArn"`
	EphemeralStorage        struct {
		SizeInGiB int `json:"sizeInGiB"`
	} `json:"ephemeralStorage"`
	ContainerDefinitions []container `json:"containerDefinitions"`
}

type container struct {
	Name        string   `json:"name"`
	Image       string   `json:"image"`
	Essential   bool     `json:"essential"`
	User        string   `json:"user"`
	EntryPoint  []string `json:"entryPoint"`
	Command     []string `json:"command"`
	Environment []struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"environment"`
	Secrets []struct {
		Name      string `json:"name"`
		ValueFrom string `json:"valueFrom"`
	} `json:"secrets"`
	PortMappings []struct {
		Name          string `json:"name"`
		ContainerPort int    `json:"containerPort"`
		Protocol      string `json:"protocol"`
	} `json:"portMappings"`
	StopTimeout  int `json:"stopTimeout"`
	StartTimeout int `json:"startTimeout"`
	HealthCheck  struct {
		Command     []string `json:"command"`
		Interval    int      `json:"interval"`
		Timeout     int      `json:"timeout"`
		Retries     int      `json:"retries"`
		StartPeriod int      `json:"startPeriod"`
	} `json:"healthCheck"`
	LinuxParameters struct {
		InitProcessEnabled bool `json:"initProcessEnabled"`
		Capabilities       struct {
			Drop []string `json:"drop"`
		} `json:"capabilities"`
	} `json:"linuxParameters"`
	Ulimits []struct {
		Name      string `json:"name"`
		SoftLimit int    `json:"softLimit"`
		HardLimit int    `json:"hardLimit"`
	} `json:"ulimits"`
	LogConfiguration struct {
		LogDriver string            `json:"logDriver"`
		Options   map[string]string `json:"options"`
	} `json:"logConfiguration"`
}

// fargateMemory are the sizes in MiB that Fargate gives to so much CPU: from, to, in steps of.
var fargateMemory = map[string][3]int{
	"1024": {2048, 8192, 1024}, "2048": {4096, 16384, 1024}, "4096": {8192, 30720, 1024},
}

// maxStopTimeout is the most that Fargate waits between TERM and KILL.
const maxStopTimeout = 120 * time.Second

// One worker group for each purpose; each is a command line that workerd takes, is given more time to stop than it needs,
// and a size that Fargate has.
func TestECSTaskDefinitions(t *testing.T) {
	n := theNumbers(t)
	files, err := filepath.Glob("ecs/*.json")
	if err != nil {
		t.Fatal(err)
	}
	var groups []string
	for _, path := range files {
		var d taskDefinition
		dec := json.NewDecoder(strings.NewReader(readFile(t, path)))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&d); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		group := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "task-"), ".json")
		groups = append(groups, group)
		t.Run(group, func(t *testing.T) {
			var memory int
			if _, err := fmt.Sscan(d.Memory, &memory); err != nil {
				t.Error(err)
			}
			if r, ok := fargateMemory[d.CPU]; !ok || memory < r[0] || memory > r[1] || memory%r[2] != 0 {
				t.Errorf("Fargate has no %s CPU with %s MiB", d.CPU, d.Memory)
			}
			if d.NetworkMode != "awsvpc" || d.Family != "seriatim-workerd-"+group || len(d.ContainerDefinitions) != 1 {
				t.Errorf("%+v", d)
			}
			checkContainer(t, n, group, d.ContainerDefinitions[0])
		})
	}
	slices.Sort(groups)
	if !slices.Equal(groups, []string{"fast", "file", "heavy"}) {
		t.Errorf("groups %v", groups)
	}
}

func checkContainer(t *testing.T, n numbers, group string, c container) {
	t.Helper()
	var env []string
	for _, e := range c.Environment {
		env = append(env, e.Name+"="+e.Value)
	}
	cfg, err := commandLine(c.Command, env)
	if err != nil {
		t.Fatal(err)
	}
	if stop := time.Duration(c.StopTimeout) * time.Second; stop > maxStopTimeout || stop < n.stop(cfg.Shutdown.Timeout, cfg.Shutdown.KillAfter) {
		t.Errorf("killed after %s; a stop takes up to %s, Fargate waits %s at most", stop, n.stop(cfg.Shutdown.Timeout, cfg.Shutdown.KillAfter), maxStopTimeout)
	}
	if !slices.Equal(cfg.Queues.Names(), []string{group}) || len(cfg.Warnings) > 0 {
		t.Errorf("queues %v, warnings %v", cfg.Queues, cfg.Warnings)
	}
	if cfg.HTTP != fmt.Sprintf(":%d", n.HTTP.Port) || c.PortMappings[0].ContainerPort != n.HTTP.Port {
		t.Errorf("listens on %s, the port is %v", cfg.HTTP, c.PortMappings)
	}
	if len(c.EntryPoint) != 0 || !c.Essential || c.User != fmt.Sprint(n.Image.User) || c.LinuxParameters.Capabilities.Drop[0] != "ALL" {
		t.Errorf("entry point %v, essential %t, user %s", c.EntryPoint, c.Essential, c.User)
	}
	if h := c.HealthCheck; h.Command[0] != "CMD" || h.Command[1] != entryPoint(t)[0] || h.Command[2] != "status" {
		t.Errorf("health check %v", h.Command)
	}
	if c.Secrets[0].Name != config.EnvName("nats.url") {
		t.Errorf("secret %s", c.Secrets[0].Name)
	}
}

// commandLine reads workerd's arguments and environment as it does itself.
func commandLine(args, env []string) (*config.Config, error) {
	set := pflag.NewFlagSet("workerd", pflag.ContinueOnError)
	flags := config.BindFlags(set)
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	var command []string
	if at := set.ArgsLenAtDash(); at >= 0 {
		command = set.Args()[at:]
	}
	return config.Read(flags, env, command)
}
