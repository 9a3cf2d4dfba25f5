-- Health of a TradingRelease for Argo CD. Goes into argocd-cm; docs/gitops.md says where.
-- Healthy: live and proven. Degraded: failed, rolled back, refused, or nobody is served. Suspended: a pause or a freeze
-- holds it, or people have to approve it. Progressing: everything else, also while the operator has not seen the newest spec yet.
local function health(status, message)
  return { status = status, message = message }
end

local status = obj.status or {}
local generation = obj.metadata.generation or 0
local said = {}
for _, condition in ipairs(status.conditions or {}) do
  -- What was said of an older spec says nothing about this one.
  if (condition.observedGeneration or 0) >= generation then
    said[condition.type] = condition
  end
end

local ready = said.Ready
if ready == nil then
  return health("Progressing", "the operator has not looked at generation " .. string.format("%d", generation) .. " yet")
end
local message = ready.reason .. ": " .. ready.message
if ready.status == "True" then
  return health("Healthy", message)
end
local function is(kind, wanted)
  return said[kind] ~= nil and said[kind].status == wanted
end
if is("Stalled", "True") then
  return health("Degraded", said.Stalled.reason .. ": " .. said.Stalled.message)
end
if status.live ~= nil and is("Serving", "False") then
  return health("Degraded", said.Serving.reason .. ": " .. said.Serving.message)
end
local waits_for_people = { Paused = true, Frozen = true, ApprovalPending = true }
if waits_for_people[ready.reason] then
  return health("Suspended", message)
end
return health("Progressing", message)
