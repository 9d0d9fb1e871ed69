-- Auto-routing of the PACS: every MR series that a scanner sent goes to the node, nothing else.
--
-- OnStableSeries fires when a series has had no new image for StableAge seconds, and again when late
-- images arrive; images that the node holds already are acknowledged there without effect. The REST
-- store job is used because it reports failures and can be sent again (POST /jobs/ID/resubmit);
-- SendToModality on a series ends as "Success" without having sent anything (Orthanc 1.10.1).

-- The node's results must never come back to it. Its SEG and SR are no MR. Its mid-plane image is
-- MR: by C-STORE it carries the node's AE title, by STOW-RS it carries none but is DERIVED.
local function comes_from_node(series, metadata)
   local sender = metadata['RemoteAET']
   if sender ~= nil and sender ~= '' then
      local node = ParseJson(RestApiGet('/modalities/node/configuration', true))
      return sender == node['AET']
   end
   local first = ParseJson(RestApiGet('/series/' .. series, true))['Instances'][1]
   local header = ParseJson(RestApiGet('/instances/' .. first .. '/simplified-tags', true))
   return string.find(header['ImageType'] or '', 'DERIVED', 1, true) ~= nil
end

function OnStableSeries(series, tags, metadata)
   if tags['Modality'] ~= 'MR' or comes_from_node(series, metadata) then
      return
   end
   RestApiPost('/modalities/node/store',
               DumpJson({ Resources = { series }, Asynchronous = true }, true), true)
end
