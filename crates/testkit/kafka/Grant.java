import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/** BOOTSTRAP USER KIND:PREFIX:OPERATION…: grants operations on all that begins with a prefix. */
public class Grant {
    public static void main(String[] args) throws Exception {
        List<AclBinding> grants = Arrays.stream(args).skip(2).map(grant -> {
            String[] parts = grant.split(":");
            return new AclBinding(
                new ResourcePattern(ResourceType.fromString(parts[0]), parts[1], PatternType.PREFIXED),
                new AccessControlEntry("User:" + args[1], "*", AclOperation.fromString(parts[2]), AclPermissionType.ALLOW));
        }).toList();
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", args[0]))) {
            admin.createAcls(grants).all().get();
        }
    }
}
