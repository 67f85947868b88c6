package config

import (
	"fmt"
	"os"
	"slices"
)

// Input is all that a configuration is made from.
type Input struct {
	// File is the name to call Data by in errors and origins; empty when there is no file.
	File string
	Data []byte
	// Env is the environment as os.Environ gives it.
	Env []string
	// Flags may be nil.
	Flags *Flags
	// Command is what stood behind `--`: the one exec pool of all kinds. Not together with pools in a file.
	Command []string
}

// CommandPool is the name of the pool that `workerd … -- CMD` makes.
const CommandPool = "main"

// Load lays file, environment and flags over the defaults and validates the whole. The error is Errors. Pure; any
// goroutine.
func Load(in Input) (*Config, error) {
	cfg := Default()
	errs := decodeFile(cfg, in.File, in.Data)
	if len(in.Command) > 0 {
		where := Origin{Kind: FromFlag, Name: "--"}
		if len(cfg.Pools) > 0 {
			errs = append(errs, &Error{Where: where, Msg: fmt.Sprintf("a command is given and %s has pools: give one or the other", in.File)})
		}
		pool := DefaultPool()
		pool.Name, pool.Command = CommandPool, slices.Clone(in.Command)
		cfg.Pools = []Pool{pool}
		for path := range cfg.origins {
			if len(path) > 6 && path[:6] == "pools." {
				delete(cfg.origins, path)
			}
		}
		cfg.origins[poolPath(0)+".command"] = where
	}
	vars := environment(in.Env)
	errs = append(errs, applyEnv(cfg, vars)...)
	errs = append(errs, in.Flags.apply(cfg)...)
	errs = append(errs, applySidekiq(cfg, vars)...)
	if len(errs) == 0 { // a value that could not be read would be called missing as well
		errs = validate(cfg)
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return cfg, nil
}

// Read is Load with the file that the flags or the environment name.
func Read(flags *Flags, env, command []string) (*Config, error) {
	in := Input{Env: env, Flags: flags, Command: command, File: flags.ConfigFile(env)}
	if in.File != "" {
		data, err := os.ReadFile(in.File)
		if err != nil {
			return nil, Errors{{Msg: err.Error()}}
		}
		in.Data = data
	}
	return Load(in)
}
