package watched

// Method is one of the methods of a storage.Store.
type Method uint8

// The methods, by their names.
const (
	Ping Method = iota
	Health
	CreateGrant
	LoadGrant
	SwapGrant
	LoadRetry
	DeleteGrant
	Epoch
	Revoke
	Unswept
	Sweep
	Survivors
	CountGrants
	ListGrants
	CreateReceipt
	LoadReceipt
	UpdateReceipt
	DeleteReceipt
	ListReceipts
	CreateUser
	LoadUser
	UpdateUser
	DeleteUser
	ListUsers
	CreateClient
	LoadClient
	UpdateClient
	DeleteClient
	ListClients
	CreateKey
	ListKeys
	DeleteKey
	LoadGuesses
	SwapGuesses
	AppendAudit
	ListAudit
	TrimAudit

	// Methods is the number of methods.
	Methods = iota
)

var methodNames = [Methods]string{
	Ping:          "ping",
	Health:        "health",
	CreateGrant:   "create_grant",
	LoadGrant:     "load_grant",
	SwapGrant:     "swap_grant",
	LoadRetry:     "load_retry",
	DeleteGrant:   "delete_grant",
	Epoch:         "epoch",
	Revoke:        "revoke",
	Unswept:       "unswept",
	Sweep:         "sweep",
	Survivors:     "survivors",
	CountGrants:   "count_grants",
	ListGrants:    "list_grants",
	CreateReceipt: "create_receipt",
	LoadReceipt:   "load_receipt",
	UpdateReceipt: "update_receipt",
	DeleteReceipt: "delete_receipt",
	ListReceipts:  "list_receipts",
	CreateUser:    "create_user",
	LoadUser:      "load_user",
	UpdateUser:    "update_user",
	DeleteUser:    "delete_user",
	ListUsers:     "list_users",
	CreateClient:  "create_client",
	LoadClient:    "load_client",
	UpdateClient:  "update_client",
	DeleteClient:  "delete_client",
	ListClients:   "list_clients",
	CreateKey:     "create_key",
	ListKeys:      "list_keys",
	DeleteKey:     "delete_key",
	LoadGuesses:   "load_guesses",
	SwapGuesses:   "swap_guesses",
	AppendAudit:   "append_audit",
	ListAudit:     "list_audit",
	TrimAudit:     "trim_audit",
}

// String returns the method's name in metrics: load_grant for LoadGrant.
func (m Method) String() string { return methodNames[m] }
