package client

// ServiceConfig is the policy that Dial sets.
var ServiceConfig = serviceConfig
